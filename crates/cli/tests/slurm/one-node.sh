#!/bin/bash
# A Slurm of one node: `one-node.sh FOLDER COMMAND [ARGS]` starts it in a new folder, runs a command that may call sbatch, and
# ends it. Needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
folder=$(realpath -m "$1"); shift
mkdir -p "$folder"/{state,spool,munge}
chmod 0755 "$folder"
name=$(hostname -s)
port=$((20000 + $$ % 10000))
head -c 1024 /dev/urandom > "$folder/munge/key"
chmod 0400 "$folder/munge/key"
chown -R root:root "$folder/munge"
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2> /dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2> /dev/null || true; done
}
trap finish EXIT
cat > "$folder/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SrunPortRange=$((port + 2))-$((port + 99))
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=1000
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
ReturnToService=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=one Nodes=$name Default=YES MaxTime=INFINITE State=UP
SlurmdParameters=config_overrides
END
export SLURM_CONF=$folder/slurm.conf
munged --foreground --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" 2> /dev/null &
started+=($!)
for _ in $(seq 100); do [ -S "$folder/munge/socket" ] && break; sleep 0.1; done
slurmctld -D > /dev/null 2> "$folder/slurmctld.err" &
started+=($!)
slurmd -D -N "$name" > /dev/null 2> "$folder/slurmd.err" &
started+=($!)
for _ in $(seq 300); do
    if [ "$(sinfo --noheader --format=%t 2> /dev/null)" = idle ]; then break; fi
    sleep 0.2
done
[ "$(sinfo --noheader --format=%t)" = idle ] || { sinfo; tail "$folder"/*.log; exit 1; }
"$@"
