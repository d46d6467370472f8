"""What a user gets wrong in composing filters: each marked line is red, with that message."""

from qemu_blocksdk.filters import (
    Environment,
    Filter,
    Message,
    Pipeline,
    chown_ids,
    default_filters,
    event_timestamp,
    lift,
    ordered,
    stream,
    test_dir,
    value_at,
)

chown_ids | event_timestamp  # error: Unsupported operand types
event_timestamp | chown_ids  # error: Unsupported operand types
chown_ids | str.upper  # error: Unsupported operand types
lift(chown_ids) | test_dir("scratch")  # error: Unsupported operand types
lift(event_timestamp)  # error: Argument 1 to "lift"
Pipeline[str](parts=(chown_ids, ordered()))  # error: Argument "parts" to "Pipeline"
event_timestamp("STOP")  # error: Argument 1
chown_ids({"event": "STOP"})  # error: Argument 1
stream(["a"], ordered())  # error: Argument 2 to "stream"
value_at("data", 1)  # error: Too many positional arguments
default_filters(Environment(test_dir="a", sock_dir="b", pid=1))  # error: Missing named argument "format"
wrong: Filter[Message] = chown_ids  # error: Incompatible types in assignment
