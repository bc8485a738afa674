"""Stock KerasTuner searches the built-in spaces as they are."""

import keras_tuner
import pytest

from spaces import SPACES, DataShape, load_space
from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import CnnConfig
from spaces.mlp import MlpConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DATA = (PUBLISHED_FOR, DataShape((64, 64, 3), 3))
CONFIGS = {"cnn": CnnConfig, "mlp": MlpConfig}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("tuner_class", [keras_tuner.RandomSearch, keras_tuner.GridSearch])
def test_a_stock_oracle_proposes_points_of_the_space(name, tuner_class, data, tmp_path):
    space = load_space(name, data)
    tuner = tuner_class(
        space.build, objective="val_accuracy", max_trials=4, seed=1, directory=tmp_path
    )
    for _ in range(4):
        trial = tuner.oracle.create_trial("tuner0")
        config = CONFIGS[name].sample(trial.hyperparameters, data)
        assert config.params(data) == trial.hyperparameters.values
        assert space.training(trial.hyperparameters) == config.training
        tuner.oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
        trial.status = "COMPLETED"
        tuner.oracle.end_trial(trial)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", SPACES)
def test_no_name_stands_under_two_conditions(name, data):
    hp = keras_tuner.HyperParameters()
    CONFIGS[name].sample(hp, data)
    names = [parameter.name for parameter in hp.space]
    assert len(names) == len(set(names))
