"""Names, codes and probability columns of the classes of a task."""

import numpy as np
import pandas as pd
import pytest

from utils.classes import check_class_names, code_labels, probability_columns, probability_table


def test_codes_follow_the_alphabet_and_a_missing_label_is_minus_one():
    labels = pd.Series(["중립", "긍정", None, "부정", "긍정"], index=[7, 8, 9, 3, 1])
    codes, names = code_labels(labels)
    assert names == ["긍정", "부정", "중립"]
    assert codes.tolist() == [2, 0, -1, 1, 0]
    assert codes.dtype == np.int8 and codes.index.tolist() == [7, 8, 9, 3, 1]


def test_the_order_of_the_comments_does_not_move_a_code():
    labels = pd.Series(["b", "c", "a"])
    codes, names = code_labels(labels)
    again, names_again = code_labels(labels[::-1])
    assert names == names_again
    pd.testing.assert_series_equal(codes, again.sort_index())


def test_whole_numbers_are_put_in_the_order_of_numbers():
    codes, names = code_labels(pd.Series(["10", "9", "1"]))
    assert names == ["1", "9", "10"]
    assert codes.tolist() == [2, 1, 0]


@pytest.mark.parametrize("labels", [["a", "a", None], [None, None]])
def test_fewer_than_two_classes_are_refused(labels):
    with pytest.raises(ValueError, match="two classes or more"):
        code_labels(pd.Series(labels, dtype="str"))


def test_two_classes_share_one_column_and_more_have_one_each():
    assert probability_columns(["no", "yes"]) == ["probability"]
    assert probability_columns(["부정", "중립", "긍정"]) == ["probability_부정", "probability_중립", "probability_긍정"]


def test_of_two_classes_the_column_is_that_of_the_second():
    table = probability_table(np.array([[0.9, 0.1], [0.3, 0.7]], np.float32), ["no", "yes"], pd.Index([4, 2]))
    assert table["probability"].round(6).to_dict() == {4: 0.1, 2: 0.7}
    assert table.dtypes.tolist() == [np.float64]


def test_probabilities_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"shape \(N, 3\), got \(1, 2\)"):
        probability_table([[0.5, 0.5]], ["a", "b", "c"])


def test_classes_without_names_are_called_by_their_codes():
    assert check_class_names(None, 3) == ("0", "1", "2")


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"]])
def test_each_class_needs_a_name_of_its_own(names):
    with pytest.raises(ValueError, match="3 different names"):
        check_class_names(names, 3)
