#!/usr/bin/env bash
# From a bare Debian 12 to model weights moving between two processes: installs packages, builds, makes a checkpoint of several
# GB, takes real trained weights, makes credentials, serves a folder on loopback, pushes and pulls over encrypted connections,
# compares hashes, prints the report.
#   demo.sh [--bytes N]    size of the made checkpoint; default 3 GiB, less where the disk is small
set -euo pipefail
cd "$(dirname "$0")/.."

bytes=$((3 << 30))
if [[ ${1:-} == --bytes ]]; then
  bytes=$2
elif (($# > 0)); then
  echo "usage: demo.sh [--bytes N]" >&2
  exit 2
fi

scripts/packages.sh --demo
echo "demo: building (build/release)"
log=$(mktemp)
if ! { cmake --preset release && cmake --build --preset release --target haul_command; } >"$log" 2>&1; then
  tail -n 40 "$log"
  echo "demo: the build failed (all of it: $log)" >&2
  exit 1
fi
rm -f "$log"
haul=$PWD/build/release/bin/haul

# Three copies lie on the disk in the end: the source, the pushed, the pulled.
work=$(mktemp -d "${TMPDIR:-/tmp}/haul-demo.XXXXXX")
server=
finish() {
  [[ -z $server ]] || kill "$server" 2>/dev/null || true
  [[ -z $server ]] || wait "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
free=$(($(df --output=avail -B1 "$work" | tail -n 1)))
if ((free < 4 * bytes)); then
  bytes=$((free / 5))
  echo "demo: only $((free >> 30)) GiB are free: the checkpoint gets $((bytes >> 20)) MiB"
fi

mkdir -p "$work/weights/tesseract" "$work/root" "$work/back"
echo "demo: making a safetensors checkpoint of $((bytes >> 20)) MiB"
python3 scripts/make_checkpoint.py "$work/weights/model.safetensors" "$bytes"
find /usr/share/tesseract-ocr -name '*.traineddata' -exec cp {} "$work/weights/tesseract/" \;
if ! compgen -G "$work/weights/tesseract/*.traineddata" >/dev/null; then
  echo "demo: no trained weights found under /usr/share/tesseract-ocr" >&2
  exit 1
fi
echo "demo: real trained weights beside it: $(cd "$work/weights/tesseract" && printf '%s ' *.traineddata)"

# Two identities that know each other: the client may push and pull below /weights only.
fingerprint() { "$haul" fingerprint "$1" | grep -o 'sha256:[0-9a-f]*'; }
"$haul" keygen --out "$work/server" --name hub >/dev/null
"$haul" keygen --out "$work/client" --name trainer >/dev/null
echo "trainer $(fingerprint "$work/client/haul.crt") push=/weights pull=/weights" >"$work/server/authorized_peers"
echo "hub $(fingerprint "$work/server/haul.crt")" >"$work/client/authorized_peers"
export HAUL_CREDENTIALS=$work/client

# Containers often forbid io_uring: then epoll, and each command says so.
io=(--io prefer)
"$haul" serve "${io[@]}" --listen 127.0.0.1:0 --root "$work/root" --credentials "$work/server" \
  >"$work/serve.out" 2>"$work/serve.err" &
server=$!
for _ in $(seq 100); do
  address=$(sed -n 's/^listening on //p' "$work/serve.out" | head -n 1)
  [[ -z $address ]] || break
  sleep 0.1
done
if [[ -z $address ]]; then
  cat "$work/serve.err" >&2
  echo "demo: the server did not start" >&2
  exit 1
fi
echo "demo: serving on $address"

"$haul" push "${io[@]}" --json "$work/weights" "haul://$address/weights" >"$work/push.json"
"$haul" pull "${io[@]}" --json "haul://$address/weights" "$work/back" >"$work/pull.json"

hashes() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
hashes "$work/weights" >"$work/sent.sums"
hashes "$work/root/weights" >"$work/pushed.sums"
hashes "$work/back/weights" >"$work/pulled.sums"
cmp "$work/sent.sums" "$work/pushed.sums"
cmp "$work/sent.sums" "$work/pulled.sums"

echo
echo "demo: report"
python3 - "$work" <<'EOF'
import json, sys
work = sys.argv[1]
for job in ("push", "pull"):
    with open(f"{work}/{job}.json") as file:
        report = json.load(file)
    seconds = report["seconds"]
    print(f"  {job}: {report['files']} files, {report['bytes'] / 1e9:.2f} GB in {seconds:.2f} s = "
          f"{report['bytes'] / 1e9 / seconds:.2f} GB/s, verified, on disk (fsync included)")
EOF
echo "  sha256 of all $(wc -l <"$work/sent.sums") files: equal at the source, after the push and after the pull"
"$haul" explain "${io[@]}" "$address" | sed 's/^/  /'
