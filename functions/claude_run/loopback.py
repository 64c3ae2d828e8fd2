"""Which host names cannot leave this machine."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a host, without port and brackets, is `localhost` or a loopback address.

    Literals only: a name that resolves to 127.0.0.1 today may resolve elsewhere tomorrow.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
