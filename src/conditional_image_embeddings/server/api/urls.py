"""Images that are named by a URL: fetched from the hosts that were allowed, and from nowhere that these point to.

A name is resolved once, its addresses are looked at, and the connection goes to one of these: a name that answers
otherwise the second time leads nowhere. A redirect is looked at as the first URL was.
"""

import asyncio
import socket
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address, ip_network

import httpx2

from ...errors import ImageError, OptionError

REDIRECTS = 3
SECONDS = 15  # in all
REDIRECTED = frozenset({301, 302, 303, 307, 308})
_NAT64 = ip_network("64:ff9b::/96")


class Urls:
    """Fetches images.

    Args:
        hosts: That may be fetched from: "images.example" (ports 80 and 443), or "images.example:8080".
        max_bytes: Of an image.
        private: Fetch from addresses that are none of the public internet too.
    """

    def __init__(self, hosts: Collection[str], *, max_bytes: int, private: bool = False) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._max_bytes, self._private = max_bytes, private

    async def fetch(self, url: str, name: str) -> bytes:
        """The bytes of an image.

        Args:
            url: Where it is.
            name: What messages call it.

        Raises:
            OptionError: its host was not allowed.
            ImageError: it could not be fetched.
        """
        if not self._hosts:
            raise OptionError(f"{name} is a URL, and URLs are not fetched: send the image as a data URI")
        try:
            async with asyncio.timeout(SECONDS):
                target = httpx2.URL(url)
                for _ in range(REDIRECTS + 1):
                    found = await self._get(target, name)
                    if isinstance(found, bytes):
                        return found
                    target = found
        except TimeoutError:
            raise ImageError(f"{name} could not be fetched within {SECONDS} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, OSError) as error:
            raise ImageError(f"{name} could not be fetched: {type(error).__name__}") from error
        raise ImageError(f"{name} is redirected more than {REDIRECTS} times")

    async def _get(self, url: httpx2.URL, name: str) -> "bytes | httpx2.URL":
        """The image, or where it is instead."""
        address = await self._address(url, name)
        # The connection goes to the address; certificates and virtual hosts are those of the name.
        request = httpx2.Request(
            "GET",
            url.copy_with(host=address),
            headers={"Host": url.netloc.decode("ascii"), "Accept": "image/*", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": url.host},
        )
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=SECONDS) as client:
            answer = await client.send(request, stream=True)
            try:
                if answer.status_code in REDIRECTED and "location" in answer.headers:
                    return url.join(answer.headers["location"])
                if answer.status_code != 200:
                    raise ImageError(f"{name} could not be fetched: its host answers {answer.status_code}")
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise ImageError(f"{name} could not be fetched: its host compresses what it sends")
                data = bytearray()
                async for part in answer.aiter_raw():
                    data += part
                    if len(data) > self._max_bytes:
                        raise ImageError(f"{name} has more than {self._max_bytes:,} bytes")
                return bytes(data)
            finally:
                await answer.aclose()

    async def _address(self, url: httpx2.URL, name: str) -> str:
        """An address of a URL's host that may be connected to."""
        host, port = url.host.lower(), url.port
        allowed = f"{host}:{port}" in self._hosts or (port is None and host in self._hosts)
        if url.scheme not in {"http", "https"} or url.userinfo or not allowed:
            raise OptionError(f"{name}: nothing is fetched from {url.host!r}; the server allows other hosts alone")
        loop = asyncio.get_running_loop()
        default = port or (443 if url.scheme == "https" else 80)
        found = [each[4][0] for each in await loop.getaddrinfo(host, default, type=socket.SOCK_STREAM)]
        addresses = [str(each) for each in found if self._private or is_public(str(each))]
        if not addresses:
            raise ImageError(f"{name} could not be fetched: {url.host!r} is no host of the public internet")
        return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet: none of this machine, its network, or its cloud."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if inner:
            return is_public(str(inner))
        if found in _NAT64:
            return is_public(str(ip_address(int(found) & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast
