"""The crash suite: kill -9 at random moments under load, then look for anything lost or doubled."""
