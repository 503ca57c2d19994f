"""A request that cannot be answered."""

from grpc import StatusCode

_HTTP = {StatusCode.INVALID_ARGUMENT: 400, StatusCode.FAILED_PRECONDITION: 400, StatusCode.NOT_FOUND: 404}


class RequestError(Exception):
    """A request that cannot be answered. code: gRPC's status; http: HTTP's, as TF Serving translates it."""

    def __init__(self, code: StatusCode, message: str):
        super().__init__(message)
        self.code, self.http = code, _HTTP[code]


def invalid(message: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, message)
