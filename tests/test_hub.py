"""A report and students as repositories of the hub: cards, chat template, code that runs."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import DatasetCard, ModelCard
from snaking import Copy
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline.data.encoding import Encoder
from pipeline.data.examples import prompt_pieces
from pipeline.publishing.cards import model_card
from pipeline.publishing.chat_template import chat_template, token_ids
from pipeline.publishing.finished import FinishedReport
from pipeline.publishing.students import Student
from pipeline.settings.data import Template
from workflow.commands import main

NAME = "lab/tiny"
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
MODELS = pytest.mark.xdist_group("chain_again")


@pytest.fixture(scope="module")
def published(chain: Copy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain's results, and its report and one student in `out`."""
    folder = tmp_path_factory.mktemp("hub")
    shutil.copytree(chain.folder / "results", folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ["--students", "jsd", "--license", "apache-2.0", "--folder", "out"]
        assert main.main(["publish", "tiny", "--to-hub", NAME, *options]) == 0
    return folder


def model_of(published: Path) -> Path:
    (folder,) = (published / "out/lab").iterdir()
    return folder


@MODELS
def test_the_card_of_a_student_has_its_scores_in_fields_that_the_hub_reads(
    published: Path,
) -> None:
    folder = model_of(published)
    fields = ModelCard.load(folder / "README.md").data  # raises for fields that are not the hub's
    assert (fields.license, fields.model_name) == ("apache-2.0", folder.name)
    assert (fields.library_name, fields.pipeline_tag) == ("transformers", "text-generation")
    scores = pd.read_parquet(published / "results/published/tiny/scores.parquet")
    own = scores[(scores["method"] == "jsd") & (scores["slice"] == "")]
    expected = {(row["metric"], row["value"]) for row in own.to_dict("records")}
    assert expected == {(each.metric_type, each.metric_value) for each in fields.eval_results}


@MODELS
def test_the_chat_template_gives_the_prompts_of_the_training(published: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_of(published))
    (data,) = (published / "results/data").glob("*/train.parquet")
    (tokens,) = (published / "results/tokens").glob("*/train.parquet")
    prompts = pd.read_parquet(tokens).set_index("example_id")["prompt_ids"]
    examples = pd.read_parquet(data)
    for row in examples.to_dict("records"):
        ids = token_ids(tokenizer, tokenizer.chat_template, row["instruction"], row["input"])
        assert ids == list(prompts[row["example_id"]])
    row = examples.iloc[0]
    question = {"role": "user", "content": row["instruction"]}
    answer = {"role": "assistant", "content": row["responses"][0]}
    whole = tokenizer.apply_chat_template([question, answer], tokenize=False)
    assert whole == f"{row['prompt']}{row['responses'][0]}{tokenizer.eos_token}"


@MODELS
def test_the_code_of_both_cards_runs(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = published / "out/datasets" / NAME
    for folder, address in (
        (report, f"hf://datasets/{NAME}"),
        (model_of(published), f"lab/{model_of(published).name}"),
    ):
        (code,) = CODE.findall((folder / "README.md").read_text())
        assert f'source = "{address}"' in code
        exec(code.replace(address, str(folder)), {})
        assert capsys.readouterr().out


@MODELS
def test_the_card_of_a_report_leads_to_its_students(published: Path) -> None:
    card = DatasetCard.load(published / "out/datasets" / NAME / "README.md")
    assert card.data.configs == [{"config_name": "scores", "data_files": "scores.parquet"}]
    assert f"https://huggingface.co/lab/{model_of(published).name}" in card.text


@MODELS
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to-hub", NAME, "--students", "jds", "--folder", "x"], "its methods are sft, jsd"),
        (["--to-hub", "lab/a--b", "--folder", "x"], "Cannot have -- or"),
        (["--to-hub", "tiny", "--folder", "x"], "name is OWNER/NAME"),
        (["--students", "jsd"], "need --to-hub OWNER/NAME"),
        (["--to-hub", NAME], "can't be uploaded .* write the repositories to a folder"),
    ],
)
def test_what_can_not_be_published_is_refused_in_a_line(
    published: Path, options: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(published)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit, match=f"error: .*{words}"):
        main.main(["publish", "tiny", *options])
    assert not (published / "x").exists()


@MODELS
def test_a_damaged_model_is_not_published(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published / "results", tmp_path / "results")
    for weights in (tmp_path / "results/students").glob("jsd*/model/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])  # of other experiments in the folder, too
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="damaged"):
        main.main(["publish", "tiny", "--to-hub", NAME, "--students", "jsd", "--folder", "out"])
    assert not (tmp_path / "out").exists()


def byte_level(*, with_bos: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["Describe this."], trainer)
    if with_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("with_bos", [True, False])
@pytest.mark.parametrize(
    "frame",
    [
        Template(),
        Template(with_input="{input}\n", without_input="{instruction}\n"),
        Template(with_input="<s>{instruction}|{input}", without_input="<s> {instruction}\n\n"),
        Template(
            with_input="'{{ \"q\" }}' \\n \t{% if %} {input} 🦉 {instruction}\n ",
            without_input="\n  {instruction} {# é #}",
        ),
    ],
)
def test_the_chat_template_is_that_of_the_training_for_any_frame(
    with_bos: bool, frame: Template
) -> None:
    tokenizer = byte_level(with_bos=with_bos)
    template = chat_template(tokenizer, frame)
    assert template is not None
    for instruction, input in [
        (" Sort {input}. ", ""),
        ("a", " \n "),
        ("{{ b }}", " x\n"),
        ("", "y"),
    ]:
        (prompt,) = Encoder(tokenizer).prompts([prompt_pieces(instruction, input, frame)])
        assert token_ids(tokenizer, template, instruction, input) == prompt


def test_a_card_gives_no_unit_to_values_beyond_its_scale(tmp_path: Path) -> None:
    score = {"task": "scrolls", "slice": "", "metric": "f1", "value": 34.2, "stderr": 1.5, "n": 50}
    scores = pd.DataFrame([score])
    student = Student(
        id="jsd.small.s1-0a1b2c3d",
        teacher="large",
        student="small",
        method="jsd",
        seed=1,
        scores=scores,
        manifest={"settings": {}},
        template=Template(),
        data={"source": "docstrings"},
        base={},
    )
    report = FinishedReport(tmp_path, scores, {"experiment": "tiny"}, {}, {})
    card = model_card(f"lab/{student.id}", report, NAME, student, "mit", True)
    assert "| scrolls | F1 ↑ |  | 34.200 | 1.500 | 50 |" in card.text
