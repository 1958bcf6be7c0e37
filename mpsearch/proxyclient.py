"""A client of Optuna's gRPC proxy that gives up calls which nobody answers."""

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache

DEADLINE = 60.0  # seconds for an answer: of a proxy whose machine is gone nothing is heard


class _Deadline(grpc.UnaryUnaryClientInterceptor):
    """Lets each call end after `DEADLINE`, at the latest."""

    def intercept_unary_unary(self, continuation, client_call_details, request):  # type: ignore[no-untyped-def]
        return continuation(client_call_details._replace(timeout=DEADLINE), request)


class ProxyClient(GrpcStorageProxy):
    """Optuna's client, whose own calls wait for as long as it takes."""

    def _setup(self) -> None:
        super()._setup()
        limited = grpc.intercept_channel(self._channel, _Deadline())
        self._stub = api_pb2_grpc.StorageServiceStub(limited)  # type: ignore[no-untyped-call]
        self._cache = GrpcClientCache(self._stub)
