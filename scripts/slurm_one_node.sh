#!/usr/bin/env bash
# A real Slurm of one node on loopback, for tests: as root, without systemd, from Debian's packages slurm-wlm and munge, which must be
# installed. Everything it writes lies in DIR; use it with SLURM_CONF=DIR/slurm.conf.
#
#     scripts/slurm_one_node.sh start|stop DIR
set -euo pipefail

dir=$(realpath -m "${2:?usage: slurm_one_node.sh start|stop DIR}")
host=$(hostname -s)

start() {
    mkdir -p "$dir"/{state,spool,log}
    chmod 755 "$dir"
    head -c 1024 /dev/urandom >"$dir/munge.key"
    chmod 400 "$dir/munge.key"
    # --force: as root, and in a folder that others can reach too; this daemon guards nothing but the test.
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/log/munged" --seed-file="$dir/munge.seed" 2>>"$dir/log/munged"
    cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    slurmctld -f "$dir/slurm.conf"
    slurmd -f "$dir/slurm.conf"
    for _ in $(seq 60); do
        if SLURM_CONF=$dir/slurm.conf sinfo -h -t idle 2>/dev/null | grep -q idle; then
            return
        fi
        sleep 0.5
    done
    echo "slurm did not come up; its logs are in $dir/log" >&2
    exit 1
}

stop() {
    for daemon in slurmd slurmctld munged; do
        if [ -f "$dir/$daemon.pid" ]; then
            kill "$(cat "$dir/$daemon.pid")" 2>/dev/null || true
        fi
    done
}

case $1 in
start) start ;;
stop) stop ;;
*) echo "usage: $0 start|stop DIR" >&2; exit 2 ;;
esac
