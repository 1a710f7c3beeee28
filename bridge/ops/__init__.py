"""Operations: logs, metrics, traces, liveness, the service manager, several processes under a supervisor."""
