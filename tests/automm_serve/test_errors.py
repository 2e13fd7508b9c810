from __future__ import annotations

import pytest

from automm_serve import errors
from automm_serve.errors import AutoMMError, near_name

LEAVES = [
    (errors.DataError, ValueError),
    (errors.SchemaError, ValueError),
    (errors.ConfigError, ValueError),
    (errors.BundleError, ValueError),
    (errors.ExportError, RuntimeError),
    (errors.DeviceError, RuntimeError),
    (errors.ServerError, RuntimeError),
    (errors.MissingDependencyError, ImportError),
]


@pytest.mark.parametrize(("leaf", "builtin"), LEAVES)
def test_a_leaf_is_also_the_builtin_that_a_python_user_would_catch(leaf, builtin):
    with pytest.raises(builtin, match="a: b"):
        raise leaf(where="a", what="b", mend="c")
    assert issubclass(leaf, AutoMMError)


def test_the_tree_at_the_top_of_the_file_names_every_leaf():
    names = {leaf.__name__ for leaf, _ in LEAVES}
    assert names == {leaf.__name__ for leaf in AutoMMError.__subclasses__()}
    assert all(name in str(errors.__doc__) for name in names)


def test_a_message_says_where_what_and_how_to_mend():
    error = AutoMMError(where="table", what="column 'age' is absent", mend="Pass it")
    assert str(error) == "table: column 'age' is absent. Pass it."


def test_a_command_stands_on_a_line_of_its_own_and_ends_with_no_stop():
    error = AutoMMError(where="a", what="b", mend="Install it with", command="pip install x")
    assert str(error).splitlines() == ["a: b. Install it with:", "    pip install x"]
    assert (error.where, error.what, error.command) == ("a", "b", "pip install x")


@pytest.mark.parametrize(
    ("name", "near"),
    [("AGE", "age"), ("titel", "title"), ("review_txt", "review_text"), ("colour", None)],
)
def test_a_near_name_is_found_whatever_its_case(name, near):
    assert near_name(name, ["age", "title", "review_text"]) == near


def test_near_to_nothing_is_nothing():
    assert near_name("age", []) is None
