"""Run Command of Systems Manager for the fake AWS: moto takes a command and runs none.

A test says by a parameter, over the API, which program of its own a machine runs for
the program that is asked for; without one the machine is none that is reached. It is
run for real: started, waited for, ended when its time is up.
"""

import shlex
import subprocess
import threading
from typing import Any

# The parameter's name; its value is the program.
PROGRAM_OF = "/fake-aws/program-of/{machine}"


def let_commands_run() -> None:
    """Close the gap in moto's SSM."""
    from moto.core.exceptions import JsonRESTError
    from moto.ssm import models

    made = models.Command.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        backend = models.ssm_backends[self.account_id][self.backend_region]
        for invocation in self.invocations:
            machine = invocation["InstanceId"]
            found = backend.get_parameters([PROGRAM_OF.format(machine=machine)])
            if not found:
                raise JsonRESTError(
                    "InvalidInstanceId", f"Instances not in a valid state: {machine}"
                )
            (program,) = found.values()
            invocation |= {"Status": "InProgress", "StatusDetails": "InProgress"}
            threading.Thread(
                target=_run, args=(program.value, self.parameters, invocation)
            ).start()

    command: Any = models.Command
    command.__init__ = init


def _run(program: str, parameters: dict[str, list[str]], invocation: Any) -> None:
    """Run a command on its machine, and write down how it went."""
    (command,) = parameters["commands"]
    seconds = float(parameters["executionTimeout"][0])
    asked = [program, *shlex.split(command)[1:], invocation["InstanceId"]]
    # AWS-RunShellScript waits 30 s at least: a test's program says by its name that it
    # is one that nobody waits for.
    seconds = min(seconds, 1.0) if program.endswith("slow") else seconds
    process = subprocess.Popen(
        asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        output, errors = process.communicate(timeout=seconds)
        status = "Success" if process.returncode == 0 else "Failed"
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        status = "TimedOut"
    invocation |= {
        "StandardOutputContent": output,
        "StandardErrorContent": errors,
        "ResponseCode": process.returncode,
        "StatusDetails": status,
        "Status": status,
    }
