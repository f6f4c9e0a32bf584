"""No secret leaves: what is printed, logged or kept goes through here."""

import os
import re
from urllib.parse import unquote

__all__ = ["masked"]

# The second way: a password with a slash that should have been %2F, told by a port that is none.
USER = re.compile(r"(?<=://)(?:[^\s/?#'\"<>]+|[^\s/?#'\"<>@\[]*:(?!\d*(?:\W|$))\S*)@")
QUERY = re.compile(r"(?i)(?<![^?&;\s])([\w-]*(?:password|passwd|pwd|token|secret|api_?key|signature)=)[^\s&;'\"]+")
ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL",
             "PREFECT_SERVER_DATABASE_CONNECTION_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING",
           "PREFECT_SERVER_API_AUTH_STRING", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SHORTEST = 4  # characters; a shorter secret would blot out ordinary words


def masked(text: str) -> str:
    """The text without the secrets of addresses (http://user:SECRET@host becomes http://***@host) and of the environment."""
    text = QUERY.sub(r"\1***", USER.sub("***@", text))
    for secret in _known():
        text = text.replace(secret, "***")
    return text


def _known() -> list[str]:
    """The secrets that the environment holds, longest first; of an address its password, as it stands and as it is meant."""
    found = {os.environ.get(name, "") for name in SECRETS}
    found |= {part for secret in tuple(found) for part in secret.split(":")[1:]}
    for name in ADDRESSES:
        address = os.environ.get(name, "")
        if its := USER.search(address if "://" in address else f"://{address}"):
            user = its[0].removesuffix("@")
            password = user.partition(":")[2] or user
            found |= {password, unquote(password)}
    return sorted((secret for secret in found if len(secret) >= SHORTEST), key=len, reverse=True)
