"""Ids, envelope, events, frames, directory records, tokens, codes: what was written is read back, what is wrong is refused."""

from __future__ import annotations

import json
import re
import uuid

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from services.contract import codes, directory, envelope, events, examples, frames, ids, tokens

CHANNEL, USER, EVENT_ID = examples.CHANNEL, examples.ANNA, examples.MESSAGE
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)
HOSTILE = [
    b"", b"null", b"{}", b"[]", b"1", b'"send"', b'{"type":null}', b'{"type":"sendx"}', b'{"type":"ping"', b"{" * 9,
    b'{"type":"send","channel":"\xff"}', b'{"type":"ping","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"type":"send","channel":1,"id":2,"text":3}', b"\xef\xbb\xbf{}",
]  # fmt: skip


# --- ids --------------------------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 48) - 1))
def test_an_event_id_is_a_uuid7_that_keeps_the_time_of_its_birth(born: int) -> None:
    id = ids.new_event_id(born)
    assert ids.is_event_id(id)
    assert ids.born_ms(id) == born
    parsed = uuid.UUID(id)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


@pytest.mark.parametrize("at", [-1, 1 << 48])
def test_a_time_that_does_not_fit_is_refused(at: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        ids.uuid7(at)


@given(st.sampled_from(["ws", "usr", "ch", "ses", "inv"]), st.integers(0, 1 << 47), st.integers(0, 1 << 47))
def test_entity_ids_sort_by_birth(prefix: ids.Prefix, one: int, other: int) -> None:
    first, second = ids.new_entity_id(prefix, one), ids.new_entity_id(prefix, other)
    assert ids.is_entity_id(first, prefix)
    if one != other:
        assert (first < second) == (one < other)


@pytest.mark.parametrize(
    "spoil",
    [
        str.upper,
        lambda id: id + "\n",
        lambda id: " " + id,
        lambda id: id[:-1],
        lambda id: id.replace("-", ""),
        lambda id: "{" + id + "}",
        lambda id: id[:14] + "4" + id[15:],
        lambda id: id[:19] + "c" + id[20:],
        lambda id: "٣" + id[1:],
        lambda id: "",
    ],
)
def test_any_other_spelling_is_no_event_id(spoil: object) -> None:
    assert callable(spoil)
    text = spoil("0199d2a2-1f40-7c3a-9b1e-5a6b7c8d9e0f")
    assert not ids.is_event_id(text)
    with pytest.raises(ValueError, match="not a UUIDv7"):
        ids.born_ms(text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, events.EventId)


@pytest.mark.parametrize(
    "text", ["ch_", CHANNEL + "\n", CHANNEL.upper(), USER, CHANNEL + "0", "", "ch_" + "g" * 32]
)
def test_any_other_spelling_is_no_channel_id(text: str) -> None:
    assert not ids.is_entity_id(text, "ch")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, events.ChannelId)


# --- envelope ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**15 - 1), st.integers(0, (1 << 48) - 1))
def test_an_envelope_is_read_back(stamped: int, born: int) -> None:
    id = ids.new_event_id(born)
    header = envelope.encode_envelope(CHANNEL, USER, id, stamped)
    read = envelope.decode_envelope([("trace", b"x"), header])
    assert read == envelope.Envelope(CHANNEL, USER, id, stamped, born)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_a_spoilt_envelope_is_never_read_as_another(noise: bytes, at: int) -> None:
    name, value = envelope.encode_envelope(CHANNEL, USER, EVENT_ID, 1_760_000_000_000)
    spoilt = value[:at] + noise + value[at:]
    try:
        read = envelope.decode_envelope([(name, spoilt)])
    except (envelope.MalformedEnvelope, envelope.UnknownEnvelopeVersion):
        return
    # Leading zeros of the time are all that may be written in two ways.
    written = envelope.encode_envelope(read.channel, read.sender, read.id, read.stamped)[1]
    assert written.split(b" ")[:4] == spoilt.split(b" ")[:4]
    assert int(spoilt.split(b" ")[4]) == read.stamped


def test_two_envelopes_or_none_are_malformed() -> None:
    header = envelope.encode_envelope(CHANNEL, USER, EVENT_ID, 1)
    for headers in ([], [header, header], [("lockstep", None)], [("Lockstep", header[1])]):
        with pytest.raises(envelope.MalformedEnvelope):
            envelope.decode_envelope(headers)


@pytest.mark.parametrize("version", [b"2", b"10", b"0"])
def test_an_unknown_version_stops_the_reader(version: bytes) -> None:
    with pytest.raises(envelope.UnknownEnvelopeVersion):
        envelope.decode_envelope([("lockstep", version + b" whatever a later release writes")])


def test_the_partition_of_a_channel_is_frozen() -> None:
    """Another function would send a channel's events elsewhere and number them anew."""
    assert envelope.partition_of(CHANNEL, 8) == 0
    assert [envelope.partition_of(f"ch_{n:032x}", 8) for n in range(6)] == [3, 5, 7, 1, 2, 4]
    assert envelope.digest_of(b"lockstep") == 2649181209
    assert envelope.digest_of(None) == 0


# --- events -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", examples.EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_is_read_back(event: events.Event) -> None:
    value = events.encode_event(event)
    assert events.read_event(value) == event
    assert events.shown_body(value) == (type(event).__struct_config__.tag, value)


def test_there_is_an_example_of_every_event_and_frame() -> None:
    for union, made in (
        (events.Event, examples.EVENTS),
        (frames.ClientFrame, examples.CLIENT_FRAMES),
        (frames.ServerFrame, examples.SERVER_FRAMES),
    ):
        assert {type(example) for example in made} == set(union.__args__)


@given(TEXTS)
@example("a\ud7ff\ue000\U0010ffff")
@example("\n")
def test_any_text_that_postgresql_can_store_is_kept(text: str) -> None:
    event = events.MessagePosted(text=text)
    assert events.read_event(events.encode_event(event)) == event


@pytest.mark.parametrize("text", ["", "a\0b", "\0", "x" * (events.MAX_TEXT + 1), "a\n\0"])
def test_other_texts_are_no_messages(text: str) -> None:
    assert isinstance(
        events.read_event(json.dumps({"type": "message.posted", "text": text}).encode()), events.UnknownEvent
    )
    with pytest.raises(msgspec.DecodeError):
        frames.decode_client_frame(
            json.dumps({"type": "send", "channel": CHANNEL, "id": EVENT_ID, "text": text})
        )


@pytest.mark.parametrize("text", [r"\ud800", r"a\udc00b", r"\ud800\ud800"])
def test_half_a_character_is_no_text(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        frames.decode_client_frame(
            f'{{"type":"send","channel":"{CHANNEL}","id":"{EVENT_ID}","text":"{text}"}}'
        )


def test_a_text_of_12000_characters_of_any_script_fits_in_a_frame() -> None:
    for character in ("a", "ж", "語", "👩", "\u0001"):
        frame = frames.Send(channel=CHANNEL, id=EVENT_ID, text=character * events.MAX_TEXT)
        size = len(frames.encode_frame(frame))
        if character != "\u0001":  # six bytes each, as an escape
            assert size <= frames.MAX_MESSAGE_BYTES
        assert frames.decode_client_frame(frames.encode_frame(frame)) == frame


@given(st.binary(max_size=100))
def test_whatever_is_in_the_log_can_be_shown(value: bytes) -> None:
    kind, body = events.shown_body(value)
    assert msgspec.json.decode(body)["type"] == kind
    read = events.read_event(value)
    assert isinstance(read, events.UnknownEvent) or events.encode_event(read)


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff", b"[1]", b'{"type":7}', b'{"kind":"x"}', b'{"type":"x","a":"\xff"}']
)
def test_what_is_no_event_is_shown_as_unreadable(value: bytes | None) -> None:
    assert events.shown_body(value) == ("unreadable", events.UNREADABLE)


def test_a_kind_of_a_later_release_is_passed_on_unchanged() -> None:
    value = b'{"type":"message.rated","stars":5}'
    assert events.shown_body(value) == ("message.rated", value)
    assert events.read_event(value) == events.UnknownEvent(type="message.rated")


# --- frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", examples.CLIENT_FRAMES, ids=lambda frame: type(frame).__name__)
def test_every_client_frame_is_read_back(frame: frames.ClientFrame) -> None:
    assert frames.decode_client_frame(frames.encode_frame(frame)) == frame


@pytest.mark.parametrize("frame", examples.SERVER_FRAMES, ids=lambda frame: type(frame).__name__)
def test_every_server_frame_is_read_back(frame: frames.ServerFrame) -> None:
    again = frames.decode_server_frame(frames.encode_frame(frame))
    assert frames.encode_frame(again) == frames.encode_frame(frame)


@pytest.mark.parametrize("message", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes_are_refused_with_one_kind_of_error(message: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        frames.decode_client_frame(message)
    with pytest.raises(msgspec.DecodeError):
        frames.decode_server_frame(message)
    with pytest.raises(msgspec.DecodeError):
        directory.decode_record(message)


@given(st.binary(max_size=300) | st.text(max_size=100))
def test_random_input_is_refused_or_read(message: bytes | str) -> None:
    for decode in (frames.decode_client_frame, frames.decode_server_frame):
        try:
            decode(message)
        except msgspec.DecodeError:
            pass


def test_unknown_fields_are_ignored() -> None:
    assert frames.decode_client_frame('{"type":"ping","since":"tomorrow","more":{"a":[1]}}') == frames.Ping()
    assert frames.decode_server_frame('{"type":"reset","epoch":2,"because":"x"}') == frames.Reset(epoch=2)


@pytest.mark.parametrize(
    "resume",
    [
        {"epoch": 1, "channels": {CHANNEL: -1}},
        {"epoch": 1, "channels": {CHANNEL: 1.5}},
        {"epoch": 1, "channels": {CHANNEL: 1 << 53}},
        {"epoch": 1, "channels": {"general": 1}},
        {"epoch": 1, "channels": {CHANNEL + "\n": 1}},
        {"epoch": 1 << 60, "channels": {}},
        {"epoch": -1, "channels": {}},
        {"channels": {}},
        {"epoch": 1},
    ],
)
def test_positions_that_cannot_be_are_refused(resume: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        frames.decode_client_frame(json.dumps({"type": "connect", "token": "x", "resume": resume}))


# --- directory --------------------------------------------------------------------------------------------------

RECORDS: list[directory.DirectoryRecord] = [
    directory.UserRecord(version=1, id=USER, workspace_id="ws_x", name="Anna", active=True),
    directory.ChannelRecord(version=2, id=CHANNEL, workspace_id="ws_x", kind="private", archived=False),
    directory.MemberRecord(version=3, channel_id=CHANNEL, user_id=USER, member=False),
    directory.KeyRecord(version=4, kid="k1", public_key="-----BEGIN", active=True),
    directory.RevokedRecord(version=5, session_id="ses_x", until_ms=9),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_directory_records_are_read_back_under_keys_of_their_own(record: directory.DirectoryRecord) -> None:
    assert directory.decode_record(directory.encode_record(record)) == record
    assert len({other.key for other in RECORDS}) == len(RECORDS)
    assert directory.parse_directory_at(directory.directory_at(record.key, record.version)) == (
        record.key,
        record.version,
    )


@pytest.mark.parametrize(
    "token", ["", "x", "@", "x@", "x@-1", "x@1.0", "x@٣", "x@ 1", "x@" + "9" * 19, "x" * 300 + "@1"]
)
def test_positions_that_nobody_gave_are_refused(token: str) -> None:
    with pytest.raises(ValueError, match="not a directory position"):
        directory.parse_directory_at(token)


# --- tokens -----------------------------------------------------------------------------------------------------

NOW = 1_760_000_000
KEY = Ed25519PrivateKey.generate()
KEYS = {"k1": KEY.public_key()}
CLAIMS = tokens.Claims(USER, "ws_x", "ses_x", NOW + 600)


def test_a_token_is_read_back_by_its_audience_alone() -> None:
    token = tokens.sign_token(KEY, "k1", "realtime", CLAIMS, now=NOW)
    assert tokens.verify_token(token, "realtime", KEYS, now=NOW) == CLAIMS
    with pytest.raises(tokens.InvalidToken, match=r"[Aa]udience"):
        tokens.verify_token(token, "access", KEYS, now=NOW)


def test_a_token_ends_when_it_says() -> None:
    token = tokens.sign_token(KEY, "k1", "access", CLAIMS, now=NOW)
    tokens.verify_token(token, "access", KEYS, now=CLAIMS.expires + tokens.LEEWAY_S)
    with pytest.raises(tokens.InvalidToken, match="expired"):
        tokens.verify_token(token, "access", KEYS, now=CLAIMS.expires + tokens.LEEWAY_S + 1)


def test_another_key_under_the_same_name_and_an_unknown_name_are_refused() -> None:
    token = tokens.sign_token(Ed25519PrivateKey.generate(), "k1", "access", CLAIMS, now=NOW)
    with pytest.raises(tokens.InvalidToken):
        tokens.verify_token(token, "access", KEYS, now=NOW)
    unknown = tokens.sign_token(KEY, "k2", "access", CLAIMS, now=NOW)
    with pytest.raises(tokens.UnknownKey) as refused:
        tokens.verify_token(unknown, "access", KEYS, now=NOW)
    assert refused.value.kid == "k2"


def payload(**changes: object) -> dict[str, object]:
    good: dict[str, object] = {
        "iss": "lockstep", "aud": "access", "sub": USER, "ws": "ws_x", "sid": "ses_x", "iat": NOW, "exp": NOW + 600,
    }  # fmt: skip
    return {name: value for name, value in (good | changes).items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None}, {"sub": 7}, {"ws": None}, {"ws": [1]}, {"sid": None}, {"exp": None}, {"exp": "never"},
        {"exp": NOW + 0.5}, {"iss": "other"}, {"iss": None}, {"aud": None}, {"aud": "realtime"}, {"iat": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_signed_token_with_wrong_claims_is_refused(changes: dict[str, object]) -> None:
    token = jwt.encode(payload(**changes), KEY, algorithm="EdDSA", headers={"kid": "k1"})
    with pytest.raises(tokens.InvalidToken):
        tokens.verify_token(token, "access", KEYS, now=NOW)


def test_the_algorithm_is_never_taken_from_the_token() -> None:
    for algorithm, key in (("none", ""), ("HS256", "x" * 32)):
        token = jwt.encode(payload(), key, algorithm=algorithm, headers={"kid": "k1"})
        with pytest.raises(tokens.InvalidToken):
            tokens.verify_token(token, "access", KEYS, now=NOW)


@given(st.text(max_size=100) | st.from_regex(r"\A[\w-]{0,20}\.[\w-]{0,20}\.[\w-]{0,20}\Z"))
def test_garbage_is_an_invalid_token(text: str) -> None:
    with pytest.raises(tokens.InvalidToken):
        tokens.verify_token(text, "access", KEYS, now=NOW)


# --- codes ------------------------------------------------------------------------------------------------------


def test_codes_are_unique_stable_words_with_a_sentence_each() -> None:
    assert len({error.code for error in codes.ERRORS.values()}) == len(codes._ERRORS)
    assert len(codes.CLOSES) == len(codes.CLOSES_BY_CODE) == len(codes._CLOSES)
    for error in codes.ERRORS.values():
        assert re.fullmatch(r"[a-z_]+", error.code)
        assert 400 <= error.status <= 599
        assert error.meaning.endswith(".")
        assert error.next.endswith(".")
    for close in codes.CLOSES.values():
        assert 1000 <= close.code <= 1015 or 4000 <= close.code <= 4999
        assert close.meaning.endswith(".")
        assert close.next.endswith(".")


def test_whatever_may_be_retried_has_a_status_that_says_so() -> None:
    for error in codes.ERRORS.values():
        if error.retry:
            assert error.status in (409, 429, 503)
        else:
            assert error.status not in (429, 503)
