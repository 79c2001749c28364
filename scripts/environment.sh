# Sourced by demo.sh and test.sh: make a virtual environment once, and again when what it holds changes.

# environment FOLDER REQUIREMENTS_FILE [PIP_ARGUMENT...]
environment() {
    local folder=$1 requirements=$2
    shift 2
    local python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
        echo "error: Python 3.11, 3.12 or 3.13 is needed, $python is $("$python" --version 2>&1)." \
            "Set PYTHON to another interpreter." >&2
        return 1
    fi
    local wanted
    wanted=$(cat "$requirements" pyproject.toml scripts/environment.sh | sha256sum)
    if [ "$(cat "$folder/complete" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    echo "Installing into $folder (a few minutes, once)"
    "$python" -m venv --clear "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" "$@"
    echo "$wanted" >"$folder/complete"
}
