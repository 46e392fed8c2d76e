"""Examples of each verb, which its help shows. A test reads every one of them as wfctl does."""

from __future__ import annotations

from typing import Final

# Verb -> (what for, command)...
EXAMPLES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "dev": (
        ("Run a workflow on this machine, and watch it:", "wfctl dev deploy/workflows/host-metrics.json"),
        ("With nodes of your own, for ten seconds:", "wfctl dev --nodes numbers.py --for 10s numbers.json"),
        ("Keep what it did, and go on from there the next time:", "wfctl dev --state-dir .treadle numbers.json"),
    ),
    "validate": (
        ("Check a document, and all of a folder:", "wfctl validate numbers.json flows/"),
        ("With nodes of your own:", "wfctl validate --nodes numbers.py numbers.json"),
        ("Findings for an editor:", "wfctl validate -o json numbers.json"),
    ),
    "test": (("Run the examples beside a document:", "wfctl test --nodes numbers.py numbers.json"),),
    "fmt": (
        ("Rewrite documents in place:", "wfctl fmt numbers.json"),
        ("Only say whether they would change, as CI does:", "wfctl fmt --check flows/"),
    ),
    "diff": (("How a document differs from what runs:", "wfctl diff numbers.json"),),
    "plan": (("What apply would do, and where loops would go:", "wfctl plan numbers.json"),),
    "apply": (
        ("Make documents run, and wait until they do:", "wfctl apply -f numbers.json -f flows/"),
        ("From a program:", "cat numbers.json | wfctl apply -f - --name numbers"),
        ("Only if nobody else changed it since:", "wfctl apply --if-revision 3 -f numbers.json"),
    ),
    "get": (
        ("All loops, with agents and figures:", "wfctl get loops -o wide"),
        ("Those that fail:", "wfctl get loops -l state=error"),
        ("What changes, as it changes:", "wfctl get loops numbers --watch"),
        ("The nodes of one loop:", "wfctl get nodes numbers/count"),
    ),
    "describe workflow": (("", "wfctl describe workflow numbers"),),
    "describe loop": (("Errors with traceback and input, and events:", "wfctl describe loop numbers/count"),),
    "describe agent": (("", "wfctl describe agent host-1"),),
    "describe queue": (("", "wfctl describe queue counted"),),
    "delete workflow": (
        ("Drain it, and keep its queues:", "wfctl delete workflow numbers"),
        ("With all messages:", "wfctl delete workflow numbers --with-queues"),
    ),
    "start": (("", "wfctl start numbers"), ("One loop:", "wfctl start numbers/count")),
    "stop": (("Stop it, and free its slots:", "wfctl stop numbers"), ("One loop:", "wfctl stop numbers/count")),
    "pause": (("Hold a loop where it is:", "wfctl pause numbers/count"),),
    "resume": (("", "wfctl resume numbers/count"),),
    "restart": (
        ("Start anew, and go on from the state:", "wfctl restart numbers/count"),
        ("Forget the state of its nodes first:", "wfctl restart --fresh numbers/count"),
    ),
    "scale": (("", "wfctl scale numbers/in --replicas 3"),),
    "rollout status": (("Wait until a revision is healthy:", "wfctl rollout status numbers --wait-timeout 2m"),),
    "rollout history": (("", "wfctl rollout history numbers"),),
    "rollout undo": (
        ("Go back to the last healthy revision:", "wfctl rollout undo numbers"),
        ("Go back to a certain one:", "wfctl rollout undo numbers --to 2"),
    ),
    "queue ls": (("Those of a workflow, hidden ones too:", "wfctl queue ls --workflow numbers --all"),),
    "queue peek": (("The oldest five messages:", "wfctl queue peek counted --limit 5"),),
    "queue push": (
        ("", "wfctl queue push counted '{\"n\": 7}'"),
        ("Each line of a file:", "wfctl queue push counted < messages.jsonl"),
        ("Once, however often it is said:", "wfctl queue push counted '{\"n\": 7}' --producer me --sequence 1"),
    ),
    "queue purge": (("Drop what nobody has taken yet:", "wfctl queue purge counted"),),
    "queue delete-consumer": (
        ("A program that read a queue and will not come back:", "wfctl queue delete-consumer counted billing"),
    ),
    "queue delete": (("", "wfctl queue delete counted"),),
    "dlq ls": (("", "wfctl dlq ls counted"),),
    "dlq show": (("Payload, error and traceback of one:", "wfctl dlq show counted 1764038400000-0"),),
    "dlq replay": (
        ("One, with all that was popped together with it:", "wfctl dlq replay counted 1764038400000-0"),
        ("All:", "wfctl dlq replay counted --all"),
    ),
    "dlq drop": (("", "wfctl dlq drop counted --all"),),
    "agent ls": (("With versions and labels:", "wfctl agent ls -o wide"),),
    "agent cordon": (("Place nothing new there:", "wfctl agent cordon host-1"),),
    "agent uncordon": (("", "wfctl agent uncordon host-1"),),
    "agent drain": (("Empty a host, and wait:", "wfctl agent drain host-1 --deadline 2m"),),
    "agent revoke": (("Let an agent in no more:", "wfctl agent revoke host-1"),),
    "agent token create": (("Let a new host in, once:", "wfctl agent token create host-2"),),
    "client whoami": (("", "wfctl client whoami"),),
    "client revoke": (("", "wfctl client revoke anna"),),
    "client token create": (("", "wfctl client token create anna --role operator"),),
    "node-types ls": (("", "wfctl node-types ls"),),
    "node-types show": (("Its parameters, as a JSON Schema:", "wfctl node-types show http.request"),),
    "logs": (
        ("What a workflow logged lately:", "wfctl logs numbers"),
        ("Follow the errors of one node:", "wfctl logs -f numbers/in --node double --level error"),
        ("The last minute, for a program:", "wfctl logs numbers --since 1m -o json"),
    ),
    "events": (
        ("What happened to a loop:", "wfctl events numbers/count"),
        ("Follow what goes wrong anywhere:", "wfctl events --watch --code loop-failed --code loop-error"),
        ("What somebody did in the last hour:", "wfctl events --actor anna --since 1h"),
    ),
    "top": (
        ("All loops, the busiest first:", "wfctl top"),
        ("Those of one workflow by how far they are behind:", "wfctl top numbers --sort lag"),
        ("The nodes of a loop:", "wfctl top numbers/in"),
        ("Once, for a program:", "wfctl top --once -o json"),
    ),
    "why": (
        ("Why a loop does not run, waits or lags:", "wfctl why numbers/in"),
        ("What is worst in a workflow:", "wfctl why numbers"),
    ),
    "context ls": (("", "wfctl context ls"),),
    "context show": (("The current one:", "wfctl context show"),),
    "context use": (("", "wfctl context use prod"),),
    "context set": (
        ("", "wfctl context set prod --address controller.example:7420 --cacert ca.pem --cert me.pem --key me.key"),
        ("Change its namespace, and use it:", "wfctl context set prod -n shop --use"),
    ),
    "context delete": (("", "wfctl context delete prod"),),
    "version": (("", "wfctl version"),),
    "completion": (
        ("For bash, in ~/.bashrc:", 'eval "$(wfctl completion bash)"'),
        ("For zsh, in ~/.zshrc:", 'eval "$(wfctl completion zsh)"'),
        ("For fish:", "wfctl completion fish > ~/.config/fish/completions/wfctl.fish"),
    ),
}


def text(verb: str) -> list[str]:
    """Return the examples of a verb as lines, what each is for above it."""
    lines = []
    for what, command in EXAMPLES.get(verb, ()):
        lines += [f"# {what}"] if what else []
        lines.append(command)
    return lines
