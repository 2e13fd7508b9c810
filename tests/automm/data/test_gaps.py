import pytest

from automm.config.data import DataConfig, ImageDataOptions
from automm.data.gaps import drop_rows_without_pictures
from automm_serve.errors import DataError
from automm_serve.schema import Column, Schema
from tests.pets import pets

SCHEMA = Schema((Column("photo", "image"), Column("side", "image"), Column("age", "number")))
SKIP = DataConfig(image=ImageDataOptions(missing_value_strategy="skip"))


def test_rows_that_lack_a_picture_are_left_out_and_no_other_takes_their_place():
    table = pets(40)
    whole = [i for i in range(40) if table["photo"][i] and table["side"][i]]
    found, count = drop_rows_without_pictures(table, SCHEMA, SKIP)
    assert 0 < len(whole) < 40
    assert found["age"] == [table["age"][i] for i in whole]
    assert count == 40 - len(whole)


@pytest.mark.parametrize("gap", [None, float("nan"), "", []])
def test_every_gap_is_one_and_what_cannot_be_read_is_none(gap):
    table = {"photo": [gap, 3, b"broken"], "side": [b"a", b"b", b"c"], "age": [1, 2, 3]}
    assert drop_rows_without_pictures(table, SCHEMA, SKIP)[0]["age"] == [2, 3]


def test_without_the_setting_or_without_pictures_every_row_stays():
    table = pets(20)
    assert drop_rows_without_pictures(table, SCHEMA, DataConfig()) == (table, 0)
    assert drop_rows_without_pictures(table, Schema(SCHEMA.columns[2:]), SKIP) == (table, 0)


def test_a_table_of_which_nothing_would_be_left_is_an_error():
    with pytest.raises(DataError, match="each of its 2 rows lacks a picture"):
        drop_rows_without_pictures({"photo": [None, b"a"], "side": [b"a", None]}, SCHEMA, SKIP)
