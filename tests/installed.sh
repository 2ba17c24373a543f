#!/usr/bin/env bash
# What is released, tested as a user gets it: tests/installed.sh PYTHON [FOLDER]
#
# Builds the sdist, and the wheel from the sdist; has twine check both; installs the wheel into an environment of its own; runs it
# from another folder on the demo's questions; and, when all of that worked, copies both into FOLDER. PYTHON is of an environment
# with the groups `dev` and `release`: its libraries are used, so that nothing is downloaded, but not its checkout of the project.
set -euo pipefail

python=$(realpath -s "$1")
if [ $# -gt 1 ]; then mkdir -p "$2" && into=$(realpath "$2"); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dist=$work/dist

"$python" -m build --no-isolation --outdir "$dist" .
"$python" -m twine check --strict "$dist"/*

"$python" -m venv "$work/venv"
own=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sys; print(*[path for path in sys.path if path.endswith("-packages")], sep="\n")' > "$own/libraries.pth"
"$work/venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-index "$dist"/*.whl

unset PYTHONPATH CURATE_ROOT
mkdir "$work/elsewhere"
cd "$work/elsewhere"
PATH=$work/venv/bin:$PATH
python - "$own" <<'PYTHON'
import sys
from email import message_from_string
from importlib.metadata import distribution
from pathlib import Path

import baldistill
import curate

own = Path(sys.argv[1])
for package in (curate, baldistill):
    folder = Path(package.__file__).parent
    assert folder.parent == own, f"{folder} is not the wheel's"
    assert (folder / "py.typed").is_file(), folder
found = distribution("baldistill")
files = {str(path) for path in found.files}
wanted = ["curate/generation/templates/rationale/mathematics.j2", "baldistill/demo_files/plan.toml"]
assert not (lacking := set(wanted) - files), lacking
tops = {path.partition("/")[0] for path in files if not path.startswith("..")}
assert tops == {"baldistill", "curate", f"baldistill-{curate.__version__}.dist-info"}, tops
text = message_from_string(found.read_text("METADATA")).get_payload()
assert text.startswith("# curate + baldistill"), text[:80]
PYTHON

test "$(curate --version)" = "$(python -c 'import curate; print(curate.__version__)')"
test "$(baldistill --version)" = "$(curate --version)"
curate --help > help.txt
grep -q "ingest " help.txt
baldistill --help > help.txt
grep -q "evaluate " help.txt
questions=$(python -c 'from baldistill import demo; print(demo.files() / "questions.jsonl")')
curate ingest "$questions" --to demo --prompt question --answer answer --domain domain
curate profile demo --json > profile.json
curate balance demo --budget 24 --policy uniform --selector random --auditor malformed
curate export demo --to jsonl --destination out
test "$(wc -l < out/train.jsonl)" -eq 24
if [ -n "${into:-}" ]; then cp "$dist"/* "$into"; fi
echo "the wheel works: $(curate --version)"
