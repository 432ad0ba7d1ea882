"""A license is read or asked for, and never invented."""

import pytest

from distill_eval.errors import ModelError, UsageError
from distill_eval.pipeline import licenses
from distill_eval.pipeline.licenses import Said
from distill_eval.report.subject import License
from distill_eval.schema.model import ModelRef

MIT, APACHE = Said(License("mit"), ("en",)), Said(License("apache-2.0"), ("en", "de"))
SILENT = Said(None, ())


def read(tmp_path, text):
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    return licenses.read(ModelRef(name=str(tmp_path)), licenses.find_card)


def test_what_a_card_says(tmp_path):
    assert read(tmp_path, "---\nlicense: apache-2.0\nlanguage: en\n---\n# A model\n") == Said(
        License("apache-2.0"), ("en",)
    )
    other = read(tmp_path, "---\nlicense: other\nlicense_name: ours\nlicense_link: LICENSE\nlanguage: [en, de]\n---\n")
    assert other == Said(License("other", "ours", "LICENSE"), ("en", "de"))


def test_a_card_without_metadata_and_no_card_say_nothing(tmp_path):
    assert licenses.read(ModelRef(name=str(tmp_path)), licenses.find_card) == SILENT
    (tmp_path / "LICENSE").write_text("Apache License 2.0")
    assert read(tmp_path, "# A model\n") == SILENT


def test_damaged_metadata_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"README.md cannot be read"):
        read(tmp_path, "---\nlicense: [mit\n---\n")


def test_all_must_say_the_same():
    assert licenses.choose(None, {"org/teacher": MIT, "org/base": MIT}) == License("mit")
    with pytest.raises(
        UsageError, match=r"different licenses \(org/teacher: mit, org/base: apache-2.0\). Type --license"
    ):
        licenses.choose(None, {"org/teacher": MIT, "org/base": APACHE})
    with pytest.raises(UsageError, match="no model card says under which license org/base may be used"):
        licenses.choose(None, {"org/teacher": MIT, "org/base": SILENT})


def test_the_users_word_counts():
    assert licenses.choose("cc-by-4.0", {"org/teacher": SILENT}) == License("cc-by-4.0")
    terms = License("other", "ours", "LICENSE")
    assert licenses.choose("other", {"org/teacher": Said(terms, ())}) == terms


@pytest.mark.parametrize("text", ["Apache 2.0", "", "MIT\n", "-mit"])
def test_what_cannot_be_a_name_on_the_hub(text):
    with pytest.raises(UsageError, match="expected its name on the Hub"):
        licenses.check(text)


def test_languages_once_each():
    assert licenses.languages((MIT, APACHE, SILENT)) == ("en", "de")
