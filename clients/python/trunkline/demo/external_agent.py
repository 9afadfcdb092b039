"""An external agent: any program that can open a UNIX socket and write lines of JSON can be one.

    python external_agent.py SOCKET NAME COORDINATOR

Standard library only, and nothing of Trunkline but `measuring.py`, which lies beside it and is standard library too.
The socket is the sidecar's. The first line says this program's name; from then on, what is published on the channel
conductor:agent:NAME comes here as lines. Each asks for the figures of one file, and is answered with a line.
"""

import json
import os
import socket
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import measure  # type: ignore[import-not-found]  # Python looks in a script's own folder first


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Returns the answer to a question such as {"root": "/src", "path": "main.py"}."""
    try:
        content = Path(question["root"], question["path"]).read_bytes()
    except OSError as error:
        return {"error": str(error)}
    return {"figures": asdict(measure(Path(question["path"]), content)), "pid": os.getpid()}


def main() -> None:
    """Answers until the sidecar closes the connection."""
    path, name, coordinator = sys.argv[1:]
    warnings.simplefilter("ignore", SyntaxWarning)  # of the sources that it reads
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        with connection.makefile("rw", encoding="utf-8", newline="\n") as lines:

            def say(target: str, payload: str, **more: Any) -> None:
                line = {"sender": name, "type": "STATUS", "target": target, "payload": payload, **more}
                lines.write(json.dumps(line) + "\n")
                lines.flush()

            say(coordinator, "agent_ready")
            for line in lines:
                question = json.loads(line)
                found = answer(json.loads(question["payload"]))
                say(question["sender"], json.dumps(found), request_id=question["request_id"])


if __name__ == "__main__":
    main()
