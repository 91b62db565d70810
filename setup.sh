#!/usr/bin/env bash
# Atelier on Linux and macOS: set up in the folder .venv beside this script, then start.
#   ./setup.sh            open the studio in the browser, with the demo preset loaded
#   ./setup.sh test       run all tests
#   ./setup.sh demo       train the demo to the end in this terminal
# Only finds a Python; everything that needs a decision is in the package "install".
set -euo pipefail
unset CDPATH

case "${BASH_SOURCE[0]}" in
    */*) cd -- "${BASH_SOURCE[0]%/*}" ;;
esac

suits() {
    "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 15) and sys.maxsize > 2**32))' >/dev/null 2>&1
}

for python in python3 python3.12 python3.11 python3.13 python3.14 python .venv/bin/python; do
    if suits "$python"; then
        exec "$python" -m install "$@"
    fi
done

echo "Setup stopped. Atelier needs Python 3.11, 3.12, 3.13 or 3.14, and none was found." >&2
echo "Install one and run this script again:" >&2
echo "  Debian, Ubuntu   sudo apt install python3 python3-venv" >&2
echo "  Fedora           sudo dnf install python3.12" >&2
echo "  macOS            brew install python@3.12, or the installer from python.org" >&2
exit 1
