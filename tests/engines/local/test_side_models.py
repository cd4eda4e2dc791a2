"""Models beside the experts: how they are named, and what is wrong with their config."""

import pytest
from scorers import make_bert

from swarm.engines.local.side_models import load_side_model, located, read_hub_config
from swarm.errors import UserError


def test_a_hub_id_may_name_a_revision_and_a_folder_may_not(tmp_path):
    assert located("llm-blender/gen_fuser_3b@refs/pr/1") == ("llm-blender/gen_fuser_3b", "refs/pr/1")
    assert located("llm-blender/PairRM-hf") == ("llm-blender/PairRM-hf", None)
    folder = make_bert(tmp_path / "mine@home")
    assert located(str(folder)) == (str(folder), None)
    loaded = load_side_model("trial", str(folder), "AutoModel")
    assert loaded.settings()["dtype"] == "float32" and loaded.settings()["model"] == str(folder)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "not a model's config")])
def test_a_config_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=f"^trial: .*config.json: {message}") as caught:
        read_hub_config("trial", str(tmp_path))
    assert "\n" not in str(caught.value)
