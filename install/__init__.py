"""The installer behind setup.sh and setup.ps1: machine (what is here), choice (which torch), environment (.venv).

Only the standard library: it runs with the Python that the machine has, before anything is installed.
"""
