"""Running a study on Ray Tune: nodes, actors, pruning, deaths."""

import time

import pytest

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster as RayCluster  # noqa: E402

from mpsearch.records import State  # noqa: E402
from mpsearch.runners import ray_tune  # noqa: E402
from mpsearch.runners.limits import Limits  # noqa: E402
from mpsearch.runners.ray_tune import Cluster, run_on_ray  # noqa: E402
from mpsearch.runners.weights import load_weights, weights_file  # noqa: E402
from mpsearch.study import open_study  # noqa: E402


class Silent:
    """Shows nothing."""

    def trial_started(self, number, config):
        """Not shown."""

    def epoch_ended(self, number, epoch, logs):
        """Not shown."""

    def waiting(self, numbers):
        """Not kept."""

    def trial_ended(self, record):
        """Not shown."""


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes, of one CPU each."""
    noticed = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": noticed}
    cluster = RayCluster(initialize_head=True, connect=False, head_node_args=head)
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow  # on a busy machine the second node may start too late to train anything
def test_a_study_on_two_nodes_is_whole_though_one_of_them_dies(tiny_study, tiny_engine, nodes, monkeypatch):
    cluster, second = nodes
    study, died, take = tiny_study(), [], ray_tune._Bridge.epoch

    def take_and_kill(bridge, trial_id, said):
        if said["node"] == second.node_id and said["epoch"] == 0 and not died:
            died.append(bridge._jobs[trial_id].number)
            cluster.remove_node(second, allow_graceful=False)
        elif not died:
            time.sleep(8)  # the other node may need long to start
        return take(bridge, trial_id, said)

    monkeypatch.setattr(ray_tune._Bridge, "epoch", take_and_kill)
    file, data, space = tiny_engine.file, tiny_engine.data, tiny_engine.network.space
    assert run_on_ray(study, file, data, space, Limits(6), Silent(), Cluster()) == ""
    records = open_study("tiny").records()
    states = [record.state for record in records]
    assert [record.number for record in records if record.state is State.BROKEN] == died
    assert states.count(State.COMPLETE) == 6
    assert len(states) == 7
    assert sorted(record.sequence for record in records if record.state is State.COMPLETE) == [0, 1, 2, 3, 4, 5]
    for record in records:
        if record.state is State.COMPLETE:
            assert record.epochs == len(record.curve) == 2
            assert record.metric == max(logs["val_accuracy"] for logs in record.curve)
    best = study.best()[0]
    tiny_engine.network.set_config(best.config)
    tiny_engine.network.load_state(load_weights(weights_file(study, best.number), best.config))
    session = tiny_engine.session("adam")
    assert session.evaluate(data, data.validation)["accuracy"] == pytest.approx(best.metric)
