"""A client of two daemons, by the code that openapi-python-client makes of their description.

`FOREBAY_OPEN` and `FOREBAY_GUARDED` are their addresses, `FOREBAY_TOKEN` is a token of the second.
"""

import os

from forebay_client import AuthenticatedClient, Client
from forebay_client.api.commands import (
    get_command_status,
    submit_note_take,
    submit_order_create,
    submit_parcel_send,
)
from forebay_client.api.users import get_user, register_user
from forebay_client.models import (
    Accepted,
    CommandNoteTake,
    CommandOrderCreate,
    CommandParcelSend,
    CommandParcelSendAddress,
    CommandParcelSendSize,
    FinalStatus,
    FinalStatusState,
    NewUser,
    Problem,
    ProblemCode,
    Registered,
    Status,
    User,
)

WAIT = "wait=30"


def check(holds, what, answer):
    if not holds:
        raise SystemExit(f"smoke.py: {what}: {answer}")


def check_problem(answer, status, code):
    problem = answer.parsed
    check(answer.status_code == status and isinstance(problem, Problem), f"a problem document with {status}", answer)
    check(problem.code == code and problem.status == status and not problem.retryable, code, problem)


def commands(client):
    # A command whose outcome is waited for, and its status.
    order = CommandOrderCreate(id="py-1", amount=12)
    final = submit_order_create.sync(client=client, body=order, prefer=WAIT)
    check(isinstance(final, FinalStatus) and final.state == FinalStatusState.SENT, "sent", final)
    check(final.kafka.topic == "orders.v1" and final.sent_at >= final.accepted_at, "where and when", final)
    status = get_command_status.sync(final.id, client=client)
    check(isinstance(status, Status) and status.key == "py-1", "the status", status)

    # Not waited for.
    address = CommandParcelSendAddress(city="Bremen")
    parcel = CommandParcelSend(id="P-0003", to=address, size=CommandParcelSendSize.SMALL)
    accepted = submit_parcel_send.sync(client=client, body=parcel)
    check(isinstance(accepted, Accepted) and accepted.durability == "fsync", "accepted", accepted)
    accepted = submit_note_take.sync(client=client, body=CommandNoteTake(id=7))
    check(isinstance(accepted, Accepted), "a kind without a schema", accepted)

    # A body without a required member cannot be made, and one with a wrong value is refused.
    try:
        CommandOrderCreate(id="py-2")
    except TypeError:
        pass
    else:
        raise SystemExit("smoke.py: an order without an amount")
    refused = submit_order_create.sync_detailed(client=client, body=CommandOrderCreate(id="py-2", amount=-1))
    check_problem(refused, 422, ProblemCode.INVALID_COMMAND)
    check(refused.parsed.errors[0].pointer == "/amount", "the place", refused.parsed)


def users(client):
    person = NewUser(name="py", email="py@example.org", phone="+49 30 1234569", password="correct horse")
    registered = register_user.sync(client=client, body=person, prefer=WAIT)
    check(isinstance(registered, Registered), "registered", registered)
    user = get_user.sync("py", client=client)
    check(isinstance(user, User) and user.email == person.email and user.nickname is None, "the user", user)
    person.name = "py2"
    taken = register_user.sync_detailed(client=client, body=person)
    check_problem(taken, 409, ProblemCode.TAKEN)
    check(taken.parsed.field == "email", "the member", taken.parsed)


def tokens(url, token):
    order = CommandOrderCreate(id="py-3", amount=1)
    refused = submit_order_create.sync_detailed(client=Client(base_url=url), body=order)
    check_problem(refused, 401, ProblemCode.UNAUTHENTICATED)
    wrong = AuthenticatedClient(base_url=url, token="wrong")
    check_problem(submit_order_create.sync_detailed(client=wrong, body=order), 401, ProblemCode.INVALID_TOKEN)
    known = AuthenticatedClient(base_url=url, token=token)
    accepted = submit_order_create.sync(client=known, body=order)
    check(isinstance(accepted, Accepted), "with a token", accepted)


with Client(base_url=os.environ["FOREBAY_OPEN"], timeout=60) as client:
    commands(client)
    users(client)
tokens(os.environ["FOREBAY_GUARDED"], os.environ["FOREBAY_TOKEN"])
