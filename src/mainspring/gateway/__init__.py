"""What every call passes before it reaches the owner of its operation: who calls, and how often.

``pipeline.Gateway`` identifies and limits, a stage per file. It knows callers, and nothing of
operations or of an interface's protocol: an interface admits a caller here, and sends what it
decoded to the ``Invoker``.
"""
