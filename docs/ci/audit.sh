#!/bin/sh
# An audit as a step of a pipeline. It fails (code 3) on whatever is found and (4) on a void report; 1 and 2 are failures of the step itself.
#
#     audit.sh MODEL MEMBERS NONMEMBERS OUT [flags of `dualmd audit`]
#
# Of OUT/kept everything may be kept as an artefact: no pictures, no texts, no names or scores of single images. The rest of OUT says who was a
# member: delete it with the job.
set -u
model=$1 members=$2 nonmembers=$3 out=$4
shift 4
mkdir -p "$out/kept" || exit 1

dualmd audit "$model" --members "$members" --nonmembers "$nonmembers" -o "$out/audit" --check --summary "$@" || exit

dualmd audit "$model" --members "$members" --nonmembers "$nonmembers" -o "$out/audit" \
    --fail-on leak,inverted,set,copies,void --json --no-images -q --log-format json \
    --also junit="$out/kept/junit.xml" --also sarif="$out/kept/report.sarif" "$@" \
    > "$out/kept/verdict.json" 2> "$out/kept/log.jsonl"
code=$?
for file in report.html report.json findings.csv; do
    if [ -f "$out/audit/$file" ]; then cp "$out/audit/$file" "$out/kept/"; fi
done
exit $code
