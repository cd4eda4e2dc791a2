"""Which devices the settings mean, and whether a base has room there: with devices that are made up."""

import pytest
import torch
from tiny import make_pool

from swarm.engines.local import devices as devices_module
from swarm.engines.local.devices import Card
from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.programs import engine_choice
from swarm.programs.engine_choice import device_map_of, devices_of
from swarm.weights.pool import read_pool


@pytest.fixture
def devices(monkeypatch):
    """Three CUDA devices, as far as anybody asks for their number."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [None]),
        ({"workers": 1}, [None]),
        ({"gpus": "2"}, ["cuda:2"]),
        ({"gpus": "cpu"}, ["cpu"]),
        ({"gpus": " cpu ", "workers": 2}, ["cpu", "cpu"]),
        ({"gpus": "0, 2"}, ["cuda:0", "cuda:2"]),
        ({"gpus": "2,0,1", "workers": 2}, ["cuda:2", "cuda:0"]),
        ({"workers": 3}, ["cuda:0", "cuda:1", "cuda:2"]),
        ({"workers": 64, "executor": "ray"}, [None]),
        ({"gpus": "0+2"}, ["cuda:0+cuda:2"]),
        ({"gpus": "2 + 0, 1"}, ["cuda:2+cuda:0", "cuda:1"]),
    ],
)
def test_a_worker_on_each_device(devices, monkeypatch, settings, wanted):
    monkeypatch.setattr(engine_choice, "cores", lambda: 2)
    assert devices_of(SearchConfig(**settings)) == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": "0,3"}, "--gpus names device 3, but this machine has ids 0 to 2"),
        ({"gpus": "1,01"}, "names a device twice"),
        (
            {"gpus": "cpu", "workers": 3},
            "--workers 3 are more workers than devices: -g cpu, and 2 .*at most --workers 2",
        ),
        ({"gpus": "0,cpu"}, "--gpus is '0,cpu'; wanted CUDA device ids such as 0 or 0,1,2, or cpu"),
        ({"gpus": "0+1,1"}, "names a device twice"),
        ({"gpus": "0+3"}, "--gpus names device 3, but this machine has ids 0 to 2"),
        ({"gpus": "0+"}, "--gpus is '0\\+'; wanted CUDA device ids such as .* or 0\\+1 for one model"),
        ({"gpus": "0+1", "workers": 2}, r"--workers 2 are more workers than devices \(0\+1\).* --workers 1"),
        ({"workers": 4}, r"--workers 4 are more workers than devices \(0, 1, 2\).* --workers 3"),
        ({"gpus": "0,1", "workers": 3}, r"--workers 3 are more workers than devices \(0, 1\).* name more devices"),
    ],
)
def test_more_than_there_are(devices, monkeypatch, settings, message):
    monkeypatch.setattr(engine_choice, "cores", lambda: 2)
    with pytest.raises(UserError, match=message):
        devices_of(SearchConfig(**settings))


def test_a_device_map_is_of_the_devices_that_are_named(tmp_path):
    place = tmp_path / "map.json"

    def read(content, device="cuda:0+cuda:1"):
        place.write_text(content)
        return device_map_of(SearchConfig(device_map=str(place), gpus="0+1"), device)

    assert read('{"model": 0, "lm_head": "cuda:1", "x": "1"}') == {
        "model": "cuda:0",
        "lm_head": "cuda:1",
        "x": "cuda:1",
    }
    assert device_map_of(SearchConfig(), "cuda:0+cuda:1") is None
    for content, device, said in (
        ('{"model": 0}', "cuda:0", "map.json divides a model, and -g names no devices together: give -g 0"),
        ('{"model": 0}', None, "-g names no devices together"),
        ("[1]", "cuda:0+cuda:1", 'map.json holds no device map; wanted an object such as {"model.embed_tokens": 0}'),
        ('{"model": 0, "lm_head": 2}', "cuda:0+cuda:1", "puts lm_head on cuda:2, which -g 0"),
        ('{"model": "cpu"}', "cuda:0+cuda:1", "puts model on cuda:cpu, which -g 0"),
    ):
        with pytest.raises(UserError) as told:
            read(content, device)
        assert said in str(told.value)


def test_without_devices_the_cores_are_shared(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(engine_choice, "cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert devices_of(SearchConfig(workers=4)) == ["cpu"] * 4
    with pytest.raises(UserError, match="4 processor cores; give at most --workers 4"):
        devices_of(SearchConfig(workers=5))
    assert [engine_choice.threads_of_each(workers) for workers in (1, 2, 3, 4)] == [3, 2, 1, 1]


def test_a_base_that_has_no_room_on_its_device(devices, monkeypatch, tmp_path):
    """Before it is loaded, with what would fit."""
    pool = read_pool(make_pool(tmp_path))
    free, set_device = {"cuda:0": 10_000, "cuda:1": 1, "cuda:2": 10**9}, torch.cuda.set_device
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[str(device)], 2 * 10**9))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(devices_module, "card_at", lambda device: Card(str(device), "Some Card", capability))
    capability = (8, 0)
    with pytest.raises(UserError, match=r"^base model .*base takes .* in bfloat16, but cuda:1 has .* free; use -g 2"):
        engine_choice.make_engine(pool, SearchConfig(gpus="1"))
    free["cuda:2"] = free["cuda"] = 1
    free["cuda:1"] = 16_000
    with pytest.raises(UserError, match="in float32, .* free; use --dtype bfloat16"):
        engine_choice.make_engine(pool, SearchConfig(gpus="1", dtype="float32"))
    capability = (7, 5)
    with pytest.raises(UserError, match="in float32, .* free; use --dtype float16"):
        engine_choice.make_engine(pool, SearchConfig(gpus="1"))
    free["cuda:1"] = 1
    with monkeypatch.context() as real:
        real.setattr(torch.cuda, "set_device", set_device)
        with pytest.raises(UserError, match="but cuda has .* free; use a smaller base"):  # what an actor calls its GPU
            engine_choice.make_engine(pool, SearchConfig(executor="ray"), "cuda")
    with pytest.raises(UserError, match="use a smaller base or a device with more memory"):
        engine_choice.make_engine(pool, SearchConfig(gpus="1"))
