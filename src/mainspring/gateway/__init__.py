"""What every call passes before a handler sees it, a stage per file.

``identify → limit → authorise → validate → replayed? → dispatch``: ``pipeline.Gateway`` puts the
stages in this order; an interface (REST, GraphQL, …) hands it what it read and writes what comes
back. No stage knows an HTTP framework, and each is tested alone.
"""
