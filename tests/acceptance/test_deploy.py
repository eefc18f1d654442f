"""The files in `deploy/`: what their own programs say of them, and that they agree with the program they run.

systemd's part is checked with systemd's own tools. Container and Kubernetes files are read and compared, not run.
"""

import configparser
import getpass
import grp
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from workerpool import config
from workerpool.config.settings import SECRETS, VARIABLES
from workerpool.core.durations import parse_duration

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "workerpool.service"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
FINAL = {"2", "5", "78"}  # exit codes after which a restart does not help (DESIGN 4.4)
KNOWN = {*VARIABLES.values(), *(f"{VARIABLES[name]}_FILE" for name in SECRETS)}
#: The exposure that `systemd-analyze security` may find, in tenths; a unit with no sandbox has 96.
EXPOSURE = 20

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian: apt-get install systemd); the unit is only linted with it",
)
needs_logrotate = pytest.mark.skipif(
    shutil.which("logrotate") is None,
    reason="logrotate is not installed (Debian: apt-get install logrotate); its file is only read with it",
)


def the_grace() -> timedelta:
    """The shutdown grace that every limit in these files must leave room for: grace + 5 s (P6)."""
    return config.load({}, {}).shutdown_grace + timedelta(seconds=5)


def unit() -> dict[str, list[str]]:
    """Read the unit: every key with its values, in order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def supervised() -> configparser.SectionProxy:
    """Read supervisord's section for the pool."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read_string((DEPLOY / "supervisord.conf").read_text())
    return parser["program:workerpool"]


def documents(path: Path) -> list[dict[str, Any]]:
    """Parse a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def deployment() -> dict[str, Any]:
    """The pod template's specification."""
    (found,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    specification: dict[str, Any] = found["spec"]["template"]["spec"]
    return specification


def lint(*command: str | Path) -> None:
    """Run a checking program; fails with all that it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with programs that exist on this machine: systemd looks whether they can be run."""
    path = tmp_path / "workerpool.service"
    path.write_text(re.sub("/opt/workerpool/bin/workerpool|/bin/kill", sys.executable, UNIT.read_text()))
    return path


@needs_systemd
def test_systemd_accepts_the_unit(installed: Path) -> None:
    """`systemd-analyze verify` finds no unknown key, no bad value and no missing program."""
    lint("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", installed)


@needs_systemd
def test_the_unit_is_hardened(installed: Path) -> None:
    """`systemd-analyze security` finds an exposure of at most 2.0; a unit without a sandbox has 9.6."""
    lint("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", installed)


def test_the_unit_follows_the_exit_codes() -> None:
    """systemd restarts what may get better and nothing else, and waits longer than a start or a stop may take."""
    found = unit()
    settings = config.load({}, {})
    assert set(found["RestartPreventExitStatus"][0].split()) == FINAL
    assert found["Restart"] == ["on-failure"]
    assert found["KillMode"] == ["mixed"], "TERM to the manager alone, KILL to everybody at the end"
    assert parse_duration(found["TimeoutStopSec"][0]) > the_grace()
    assert parse_duration(found["TimeoutStartSec"][0]) > settings.start_timeout
    assert found["Type"] == ["notify"]
    assert found["NotifyAccess"] == ["main"]


def test_supervisord_follows_the_exit_codes() -> None:
    """supervisord restarts what may get better, and nothing else; it waits longer than a stop may take."""
    program = supervised()
    assert set(program["exitcodes"].split(",")) == FINAL | {"0"}
    assert program["autorestart"] == "unexpected"
    assert program["stopsignal"] == "TERM"
    assert timedelta(seconds=program.getint("stopwaitsecs")) > the_grace()
    assert program["stopasgroup"] == "false"
    assert program["killasgroup"] == "true"


def test_the_environment_file_holds_settings_that_exist(tmp_path: Path) -> None:
    """The program takes `workerpool.env`, also with every line that is commented out, and knows each name in it."""
    lines = (DEPLOY / "workerpool.env").read_text().splitlines()
    given = [line for line in (line.removeprefix("#") for line in lines) if re.match(r"WORKERPOOL_\w+=", line)]
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://db.example.net/app\n")
    names = ("dsn", "commands.toml", "api-token", "webhook-secret", "sources.toml")
    stand_ins = {f"/etc/workerpool/{name}": secret for name in names}
    text = "\n".join(given)
    for written, there in stand_ins.items():
        text = text.replace(written, str(there))
    file = tmp_path / "workerpool.env"
    file.write_text(text)
    settings = config.load({}, {"WORKERPOOL_ENV_FILE": str(file)})
    assert not settings.warnings
    assert len(given) > 5


@pytest.mark.parametrize("name", ["workerpool.service", "supervisord.conf", "Containerfile", "compose.yaml"])
def test_every_variable_that_is_set_is_a_setting(name: str) -> None:
    """A misspelt WORKERPOOL_ name would be warned of and ignored: no shipped file has one."""
    text = "\n".join(
        line for line in (DEPLOY / name).read_text().splitlines() if not line.lstrip().startswith(("#", ";"))
    )
    named = set(re.findall(r"(?<![\w{])WORKERPOOL_[A-Z_]+(?==|: )", text))
    assert named, "it sets something"
    assert named <= KNOWN


@pytest.mark.parametrize("path", [*MANIFESTS, DEPLOY / "compose.yaml"], ids=lambda path: path.name)
def test_yaml_can_be_parsed(path: Path) -> None:
    """Each file is YAML, and each Kubernetes manifest says what it is."""
    found = documents(path)
    assert found
    if path in MANIFESTS:
        assert all({"apiVersion", "kind"} <= document.keys() for document in found)


def test_kustomize_lists_the_manifests() -> None:
    """`kubectl apply -k` applies every manifest but the example of a secret and what needs KEDA; none is missing."""
    (found,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    there = {path.name for path in MANIFESTS} - {
        "kustomization.yaml",
        "secret.example.yaml",
        "keda-scaledobject.yaml",  # valid without KEDA: named there in a comment
    }
    assert set(found["resources"]) == there


def test_kubernetes_gives_the_pool_its_grace_and_no_rights() -> None:
    """The kubelet waits longer than a stop may take; the pod is not root and writes to its volumes only."""
    pod = deployment()
    (container,) = pod["containers"]
    assert timedelta(seconds=pod["terminationGracePeriodSeconds"]) > the_grace()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["enableServiceLinks"] is False, "a Service named workerpool would put its variables among the settings"
    (settings,) = documents(DEPLOY / "kubernetes" / "configmap.yaml")
    assert settings["data"].keys() <= KNOWN
    assert {entry["name"] for entry in container["env"]} <= KNOWN
    config.load({}, dict(settings["data"]))


def test_kubernetes_mounts_what_the_settings_name() -> None:
    """The file with the database's address lies in the volume of the secret that the example makes."""
    pod = deployment()
    (container,) = pod["containers"]
    (secret,) = documents(DEPLOY / "kubernetes" / "secret.example.yaml")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    (path,) = [Path(each["value"]) for each in container["env"] if each["name"] == "WORKERPOOL_DATABASE_URL_FILE"]
    assert mounts[str(path.parent)]["secret"]["secretName"] == secret["metadata"]["name"]
    assert path.name in secret["stringData"]
    assert "emptyDir" in mounts["/var/lib/workerpool"], "the home can be written"


def test_compose_gives_the_pool_its_grace() -> None:
    """Compose's own default of 10 s would kill in the middle of the grace."""
    (found,) = documents(DEPLOY / "compose.yaml")
    pool = found["services"]["workerpool"]
    assert parse_duration(pool["stop_grace_period"]) > the_grace()
    assert set(pool["secrets"]) <= found["secrets"].keys()


def test_the_image_runs_the_manager_itself() -> None:
    """Exec form under an init that reaps, a user without rights, and only files that are in the project."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    last = dict(steps)
    assert last["ENTRYPOINT"] == '["tini", "--"]'
    assert last["CMD"] == '["workerpool", "start"]'
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert int(last["USER"]) == deployment()["securityContext"]["runAsUser"]
    copied = [
        arguments.split()[:-1] for step, arguments in steps if step == "COPY" and not arguments.startswith("--from")
    ]
    assert all((DEPLOY.parent / name).exists() for names in copied for name in names)


def test_logs_are_reopened_after_rotation() -> None:
    """logrotate's file sends USR1 to the pid in the home's lock, and to nobody when no pool runs."""
    text = (DEPLOY / "logrotate").read_text()
    script = re.search(r"postrotate\n(.*?)endscript", text, re.DOTALL)
    assert script is not None
    assert text.count("{") == text.count("}")
    command = script[1].replace("kill", "echo kill").replace("/var/lib/workerpool/manager.lock", "$LOCK")
    for content, said in (("4711\n", "-USR1 4711"), ("", "")):
        done = subprocess.run(
            ["/bin/sh", "-ec", f"LOCK=$(mktemp); printf '{content}' >$LOCK\n{command}\nrm $LOCK"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip().removeprefix("echo").removeprefix("kill").strip() == said


@needs_logrotate
def test_logrotate_accepts_its_file(tmp_path: Path) -> None:
    """`logrotate -d` reads the file without an error, with this user in the place of `workerpool`."""
    me = f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    path = tmp_path / "logrotate"
    path.write_text((DEPLOY / "logrotate").read_text().replace("workerpool workerpool", me))
    path.chmod(0o644)
    done = subprocess.run(
        ["logrotate", "-d", "-s", tmp_path / "state", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr
