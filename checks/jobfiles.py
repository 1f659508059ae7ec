"""Are the job files in pipelines/slurm and pipelines/kubernetes well formed, and do the programs in bin/ know the flags that they give?

Kubernetes' own schema of the API says whether a field exists and has the right type. The extraction jobs are run by kubernetes_job.py and
slurm_array.sh.
"""
import pathlib
import re
import subprocess

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent


def flags(program):
    text = subprocess.run([ROOT / "bin" / program, "--help"], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"^  (--[a-z0-9-]+)", text, re.M))


def check_flags(path, program, used):
    unknown = set(used) - flags(program)
    assert used and not unknown, f"{path}: {program} has no {', '.join(unknown)}"


for path in sorted(ROOT.glob("pipelines/kubernetes/*.yaml")):
    (job,) = yaml.safe_load_all(path.read_text())
    for version in "1.29", kubernetes_validate.latest_version():  # before 1.29, backoffLimitPerIndex was off by default
        kubernetes_validate.validate(job, version, strict=True)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job") and job["metadata"]["name"], path
    assert pod["restartPolicy"] in ("Never", "OnFailure"), path
    (container,) = pod["containers"]
    args = container["args"]
    check_flags(path, pathlib.Path(container["command"][0]).name, [a.split("=")[0] for a in args])
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}, path
    parts = [a.removeprefix("--part=auto/") for a in args if a.startswith("--part")]
    if parts:
        assert spec["completionMode"] == "Indexed" and parts == [str(spec["completions"])] and spec["parallelism"] <= spec["completions"], path
        assert pod["restartPolicy"] == "Never", f"{path}: backoffLimitPerIndex wants it"

for path in sorted(ROOT.glob("pipelines/slurm/*.sbatch")):
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n") and "#SBATCH --requeue" in text, path
    program = re.search(r"/(mvp-[a-z]+)\"", text).group(1)
    command = next(line for line in text.splitlines() if f"/{program}\"" in line)
    check_flags(path, program, re.findall(r" (--[a-z-]+)", command))
print("job files are well formed")
