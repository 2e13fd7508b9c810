from scripts.metrics_page import PAGE, page


def test_the_page_of_metrics_is_the_one_that_the_metrics_give():
    assert PAGE.read_text() == page(), "python -m scripts.metrics_page"
