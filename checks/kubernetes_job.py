"""Runs pipelines/kubernetes/extract.yaml as a cluster would, with processes for pods and a folder for the volume: all indices at once, one
killed and one evicted while they work, each followed by another pod of its index. The store must be that of one worker.

Not shown, for want of a cluster: scheduling, images, volumes, and pods of different host names, whose leases are taken over after two
minutes instead of at once.
"""
import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tars(folder, scenes, n):
    """Deals the scenes out to n tar files as a WebDataset has them."""
    for i in range(n):
        with tarfile.open(folder / f"train-{i:03}.tar", "w") as tar:
            for path in scenes[i::n]:
                tar.add(path, f"{path.parent.name}-{path.stem}.jpg")
                label = tarfile.TarInfo(f"{path.parent.name}-{path.stem}.cls")
                label.size = len(path.parent.name)
                tar.addfile(label, io.BytesIO(path.parent.name.encode()))


def command(container, data, more):
    """The container's command line, on this machine's bin/ and data folder; more goes last, and so counts."""
    here = [w.replace("/opt/mvp", str(ROOT)).replace("/data/", f"{data}/") for w in container["command"] + container["args"]]
    return here + more


with tempfile.TemporaryDirectory() as data:
    data = pathlib.Path(data)
    job = yaml.safe_load((ROOT / "pipelines/kubernetes/extract.yaml").read_text())["spec"]
    (container,) = job["template"]["spec"]["containers"]
    tars(data, sorted(ROOT.glob("testdata/scenes/test/*/*.jpg")), 128)
    (data / "clip.onnx").write_bytes((ROOT / "testdata/teacher/teacher.onnx").read_bytes())
    more = ["--provider=cpu", "--threads=1", "--loaders=1", "--views=8", "--shard-bytes=1000000"]

    def start(index):
        log = open(data / f"{index}.log", "a")
        env = os.environ | {"JOB_COMPLETION_INDEX": str(index), "MVP_DEPS": str(ROOT / ".deps")}
        return subprocess.Popen(command(container, data, more), env=env, stdout=log, stderr=log)

    def at_work(index):
        shards = list((data / "targets/shards").glob("*.arrow"))
        return "planned" in (data / f"{index}.log").read_text() and len(shards) >= 2 * job["completions"]

    pods = {i: start(i) for i in range(job["completions"])}
    for victim, how in (1, signal.SIGKILL), (2, signal.SIGTERM):
        while not at_work(victim) and pods[victim].poll() is None:
            time.sleep(0.01)
        pods[victim].send_signal(how)
        status = pods[victim].wait()
        assert status == (-how if how == signal.SIGKILL else 1), f"pod {victim}: {how.name} came too late, its status was {status}"
        print(f"pod {victim} got {how.name} at work; its status was {status}")
        pods[victim] = start(victim)
    for index, pod in pods.items():
        log = (data / f"{index}.log")
        assert pod.wait() == 0, f"pod {index}: {log.read_text()}"
        print(f"pod {index}:", log.read_text().splitlines()[-1])

    whole = command(container, data, more + ["--part=0/1", f"--out={data}/whole"])
    subprocess.run(whole, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"MVP_DEPS": str(ROOT / ".deps")})
    subprocess.run([ROOT / "bin/mvp-shards", "verify", data / "targets"], check=True)
    subprocess.run([sys.executable, ROOT / "checks/same_rows.py", data / "whole", data / "targets"], check=True)
