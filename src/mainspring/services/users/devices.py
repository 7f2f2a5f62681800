"""Devices that people recognise: by what a browser calls itself, and about where it was. No I/O."""

import ipaddress

from mainspring import Sender

# The first that is found: each names itself after those that it imitates.
_BROWSERS = (
    ("Edg/", "Edge"), ("EdgA/", "Edge"), ("EdgiOS/", "Edge"), ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"), ("Vivaldi/", "Vivaldi"), ("YaBrowser/", "Yandex"),
    ("FxiOS/", "Firefox"), ("Firefox/", "Firefox"), ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"),
    ("Windows", "Windows"), ("Mac OS X", "macOS"), ("Macintosh", "macOS"), ("Linux", "Linux"),
)  # fmt: skip
PROGRAM_CHARS_MAX = 60
# About as much as one provider has of one region: whoever moves on within it is not asked about.
_PREFIXES = {4: 16, 6: 32}


def device(user_agent: str) -> str:
    """Return ``Firefox on Windows``, or how another program calls itself; or nothing."""
    browser = next((name for token, name in _BROWSERS if token in user_agent), "")
    system = next((name for token, name in _SYSTEMS if token in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    program = user_agent.partition(" ")[0].partition("/")[0][:PROGRAM_CHARS_MAX]
    return browser or system or program


def region(address: str) -> str:
    """Return the network that an address is about in; nothing where it is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found, _PREFIXES[found.version]), strict=False))


def sight(sender: Sender) -> str:
    """Return what tells a device from another; nothing where nothing is known of it."""
    known = device(sender.user_agent)
    return f"{known}/{region(sender.address)}" if known else ""


def told(sender: Sender, *where: str | None) -> str:
    """Write a device for its user: ``Firefox on Windows, Berlin, DE, 203.0.113.7``."""
    return ", ".join(filter(None, (device(sender.user_agent), *where, sender.address)))
