"""What every test can ask for. The fixtures stand in plug-in files, one a subject."""

pytest_plugins = ("tests.databases",)
