"""What a person sees, and what a script gets."""

import re

import httpx
import pytest

from tests.support.windsor import Send, StartWindsor
from windsor_sync.sandbox import Faults, Sandbox

HOSTILE = "<script>alert(1)</script>"


def text_of(html: str) -> str:
    """Return what a page says, without tags, blanks run together."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_the_users_page_shows_memberships_as_coloured_pills(windsor: Sandbox, send: Send, client: httpx.Client) -> None:
    send(type="identify", userId="u-1", traits={"vip": True, "dormant": False, "plan": "pro", "gone": None})
    page = client.get(f"{windsor.url}users").text
    assert re.search(r'class="pill yes"[^>]*><span class="key">vip</span> <b>true</b>', page)
    assert re.search(r'class="pill no"[^>]*><span class="key">dormant</span> <b>false</b>', page)
    assert "plan pro" in text_of(page)
    assert "gone null" in text_of(page)


def test_the_users_page_searches_and_turns_pages(windsor: Sandbox, send: Send, client: httpx.Client) -> None:
    for number in range(60):
        send(type="identify", userId=f"u-{number:02}", traits={"even": number % 2 == 0})
    first = client.get(f"{windsor.url}users").text
    assert "1 to 50 of 60" in text_of(first)
    (after,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = text_of(client.get(httpx.URL(windsor.url).join(after.replace("&amp;", "&"))).text)
    assert "51 to 60 of 60" in second
    assert "u-59" in second
    assert "u-49" not in second
    assert text_of(client.get(f"{windsor.url}users?search=U-5").text).count("u-5") == 10
    even = text_of(client.get(f"{windsor.url}users?property=even&value=true").text)
    assert "Users 30" in even


def test_a_users_page_shows_properties_group_events_and_merged_ids(
    windsor: Sandbox, send: Send, client: httpx.Client
) -> None:
    send(type="identify", anonymousId="visitor/1", traits={"plan": "pro"})
    send(type="alias", userId="u/1 ü", previousId="visitor/1")
    send(type="group", userId="u/1 ü", groupId="acme", traits={"employees": 12})
    send(type="page", userId="u/1 ü", name="Pricing")
    (link,) = re.findall(r'class="name[^"]*" href="([^"]+)"', client.get(f"{windsor.url}users").text)
    said = text_of(client.get(httpx.URL(windsor.url).join(link)).text)
    for expected in ("u/1 ü", "plan pro", "acme", "employees 12", "page Pricing hidden", "visitor/1"):
        assert expected in said
    assert client.get(f"{windsor.url}api/users/visitor%2F1").json()["id"] == "u/1 ü"


PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

SHOWN = {
    PIXEL: "data:",
    "https://cdn.example.com/a.png?size=64": "https://cdn.example.com",
    "http://pictures.example.com:8080/ana": "http://pictures.example.com:8080",
}
NOT_SHOWN = (
    "javascript:alert(1)", "data:text/html;base64,PHNjcmlwdD4=", "data:image/svg+xml;base64,PHN2Zy8+", "//cdn.example.com/a.png",
    "http://127.0.0.1:8080/", "http://localhost/a.png", "http://[::1]/a.png", "http://169.254.169.254/", "http://intranet/a.png",
    "https://ana:secret@example.com/a.png", "https://example.com;script-src.example/", "https://example.com/a.png' onerror=",
    "https://printer.local/", "file:///etc/passwd", "https://example.com:99999/a", "ftp://example.com/a.png", "", 7, None, ["x"],
    "https://example.com/" + "a" * 3_000, "data:image/png;base64," + "A" * 500_000,
)  # fmt: skip


@pytest.mark.parametrize(("avatar", "source"), SHOWN.items())
def test_an_avatar_is_a_picture_that_the_page_may_load_and_nothing_else(
    windsor: Sandbox, send: Send, client: httpx.Client, avatar: str, source: str
) -> None:
    send(type="identify", userId="u-1", traits={"avatar": avatar})
    page = client.get(f"{windsor.url}users/u-1")
    (picture,) = re.findall(r"<img [^>]*>", page.text)
    assert f'src="{avatar}"' in picture
    assert 'referrerpolicy="no-referrer"' in picture
    policy = dict(one.strip().partition(" ")[::2] for one in page.headers["content-security-policy"].split(";"))
    assert (policy["img-src"], policy["default-src"], policy["style-src"]) == (source, "'none'", "'self'")
    assert "img-src" not in client.get(f"{windsor.url}users").headers["content-security-policy"]


def test_an_avatar_that_is_no_picture_of_the_public_network_is_text(
    windsor: Sandbox, send: Send, client: httpx.Client
) -> None:
    for avatar in NOT_SHOWN:
        send(type="identify", userId="u-1", traits={"avatar": avatar})
        page = client.get(f"{windsor.url}users/u-1")
        assert "<img" not in page.text, avatar
        assert "img-src" not in page.headers["content-security-policy"], avatar


def test_a_users_page_says_whom_windsor_merged_and_when(windsor: Sandbox, send: Send, client: httpx.Client) -> None:
    send(type="identify", anonymousId="a-1", traits={"plan": "pro"})
    send(type="alias", userId="u-1", previousId="a-1")
    send(type="alias", userId="u-2", previousId="u-1")
    said = text_of(client.get(f"{windsor.url}users/u-2").text)
    assert re.search(r"Also known as u-1 \(merged [\d-]+ [\d:]+ UTC\), a-1 \(merged [\d-]+ [\d:]+ UTC\)", said), said


def test_the_feed_shows_an_events_own_time_beside_that_of_its_arrival(
    windsor: Sandbox, send: Send, client: httpx.Client
) -> None:
    send(type="track", userId="u-1", event="Signed Up", timestamp="2026-01-02T05:04:05+02:00")
    send(type="track", userId="u-1", event="Long ago", timestamp="0001-01-01T00:00:00+12:00")
    said = text_of(client.get(f"{windsor.url}feed").text)
    assert re.search(r"Signed Up u-1 2026-01-02 03:04:05 · received 20", said), said
    assert "0001-01-01T00:00:00+12:00 · received" in said


def test_page_events_are_hidden_behind_show_hidden_events(windsor: Sandbox, send: Send, client: httpx.Client) -> None:
    send(type="page", userId="u-1", name="Pricing")
    send(type="track", userId="u-1", event="Signed Up")
    shown = client.get(f"{windsor.url}feed").text
    assert "Signed Up" in shown
    assert "Pricing" not in shown
    assert "Show hidden events (1)" in shown
    (link,) = re.findall(r'class="button" href="([^"]+)"', shown)
    everything = text_of(client.get(httpx.URL(windsor.url).join(link)).text)
    assert everything.index("Signed Up") < everything.index("Pricing")


def test_the_overview_counts_memberships_answers_and_names_the_faults(
    windsor: Sandbox, send: Send, client: httpx.Client
) -> None:
    send(type="identify", userId="u-1", traits={"vip": True})
    send(type="identify", userId="u-2", traits={"vip": False})
    send(type="delete", userId="u-1")
    windsor.set_faults(Faults(busy_rate=0.25))
    said = text_of(client.get(windsor.url).text)
    for expected in ("Users 2", "vip 1 1", "200 2", "501 1", "busy_rate 0.25", f"curl {windsor.url}"):
        assert expected in said


def test_everything_is_escaped(windsor: Sandbox, send: Send, client: httpx.Client) -> None:
    traits = {HOSTILE: True, "name": HOSTILE, "list": [HOSTILE], "avatar": f'"{HOSTILE}'}
    send(type="identify", userId=HOSTILE, traits=traits)
    send(type="group", userId=HOSTILE, groupId=HOSTILE, traits={HOSTILE: HOSTILE})
    send(type="track", userId=HOSTILE, event=HOSTILE, properties={HOSTILE: HOSTILE})
    windsor.set_faults(Faults(rejected_users=frozenset({HOSTILE})))
    hostile = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    for path in ("", "users", f"users/{hostile}", "feed", f"users?search={hostile}", f"users?property={hostile}"):
        page = client.get(windsor.url + path)
        assert page.status_code == 200
        assert "script>alert" not in page.text.replace("&lt;script&gt;alert", "")
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_pages_load_nothing_from_elsewhere_but_the_picture_of_the_user_they_are_about(
    windsor: Sandbox, send: Send, client: httpx.Client
) -> None:
    send(type="identify", userId="u-1", traits={"avatar": "https://example.com/a.png", "name": "Ann"})
    for path in ("", "users", "users/u-1", "feed"):
        page = client.get(windsor.url + path).text
        found = re.findall(r'(?:src|href)="((?:https?:)?//[^"]*)"', page)
        assert found == (["https://example.com/a.png"] if path == "users/u-1" else []), path
        assert "<script" not in page
    style = client.get(f"{windsor.url}style.css")
    assert style.headers["Content-Type"].startswith("text/css")
    assert "url(" not in style.text


def test_empty_pages_say_so(windsor: Sandbox, client: httpx.Client) -> None:
    assert "Nobody here yet" in client.get(f"{windsor.url}users").text
    assert "Nothing has happened yet" in client.get(f"{windsor.url}feed").text
    missing = client.get(f"{windsor.url}users/nobody")
    assert (missing.status_code, "No such user" in missing.text) == (404, True)


def test_the_api_pages_through_users_and_messages(windsor: Sandbox, send: Send, client: httpx.Client) -> None:
    for number in range(5):
        send(type="identify", userId=f"u-{number}", traits={"odd": number % 2 == 1}, messageId=f"m-{number}")
    users = client.get(f"{windsor.url}api/users?offset=1&limit=2").json()
    assert ([user["id"] for user in users["users"]], users["total"]) == (["u-1", "u-2"], 5)
    odd = client.get(f"{windsor.url}api/users?property=odd&value=true").json()
    assert [user["id"] for user in odd["users"]] == ["u-1", "u-3"]
    messages = client.get(f"{windsor.url}api/messages?offset=4").json()
    assert messages["total"] == 5
    assert [(one["messageId"], one["type"], one["userId"]) for one in messages["messages"]] == [
        ("m-4", "identify", "u-4")
    ]


@pytest.mark.parametrize("query", ["offset=-1", "limit=many", "offset=1e3", f"limit={'9' * 5000}"], ids=len)
def test_an_offset_or_limit_that_is_no_count_is_a_400(windsor: Sandbox, client: httpx.Client, query: str) -> None:
    assert client.get(f"{windsor.url}api/users?{query}").status_code == 400
    assert client.get(f"{windsor.url}users?{query}").status_code == 400


def test_a_user_nobody_told_windsor_about_is_a_404(windsor: Sandbox, client: httpx.Client) -> None:
    assert client.get(f"{windsor.url}api/users/nobody").status_code == 404


def test_reset_over_http_forgets_everything_but_the_faults(windsor: Sandbox, send: Send, client: httpx.Client) -> None:
    windsor.set_faults(Faults(html_rate=1))
    send(type="identify", userId="u-1")
    answer = client.post(f"{windsor.url}api/reset")
    assert (answer.status_code, answer.json()["users"], answer.json()["requests"]) == (200, 0, 0)
    assert windsor.faults == Faults(html_rate=1)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8474", "127.0.0.1.evil.example", "10.0.0.1", "", "[::"])
def test_a_request_for_another_host_is_refused(windsor: Sandbox, client: httpx.Client, host: str) -> None:
    for path in ("", "users", "api/users"):
        assert client.get(windsor.url + path, headers={"Host": host}).status_code == 403
    assert client.post(windsor.url, json={}, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8474"])
def test_every_name_of_this_machine_is_served(windsor: Sandbox, client: httpx.Client, host: str) -> None:
    assert client.get(f"{windsor.url}users", headers={"Host": host}).status_code == 200


def test_a_host_name_that_was_given_is_served(start_windsor: StartWindsor, client: httpx.Client) -> None:
    windsor = start_windsor(names=["Windsor.internal"])
    assert client.get(f"{windsor.url}users", headers={"Host": "windsor.internal:8474"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9"])
def test_pages_of_other_sites_can_change_nothing(
    windsor: Sandbox, send: Send, client: httpx.Client, origin: str
) -> None:
    send(type="identify", userId="u-1")
    assert client.post(f"{windsor.url}api/reset", headers={"Origin": origin}).status_code == 403
    assert client.put(f"{windsor.url}api/faults", json={}, headers={"Origin": origin}).status_code == 403
    assert windsor.store.user("u-1") is not None
    own = {"Origin": windsor.url.rstrip("/")}
    assert client.post(f"{windsor.url}api/reset", headers=own).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain;charset=UTF-8"},
        {"Content-Type": "multipart/form-data; boundary=b"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_form_of_another_site_changes_nothing_where_a_browser_names_no_origin(
    windsor: Sandbox, send: Send, client: httpx.Client, headers: dict[str, str]
) -> None:
    send(type="identify", userId="u-1")
    assert client.post(f"{windsor.url}api/reset", headers=headers, content=b"x=1").status_code == 403
    assert windsor.store.user("u-1") is not None
    assert client.post(f"{windsor.url}api/reset").status_code == 200  # a program


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["", "users", "api/users", "users/nobody", "users?offset=-1", "nothing/here"])
def test_every_page_has_its_policy_whatever_is_asked_for(
    windsor: Sandbox, client: httpx.Client, method: str, path: str
) -> None:
    assert "default-src 'none'" in client.request(method, windsor.url + path).headers["Content-Security-Policy"]
