"""The crash suite: a platform under load, a fault, then a search for anything lost or doubled.

``scenarios/`` has a file for each kind of fault; ``stage.py`` is where they play (an engine, its
processes, a receiver of webhooks), ``process.py`` a process that can be hurt, ``ledger.py`` the app
it runs, ``load.py`` the callers and what they were told, ``checks.py`` what must hold afterwards.
"""
