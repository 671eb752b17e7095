from models.curves import Epoch, draw, table

HISTORY = (Epoch(1, 0.5, 0.6, 1e-3), Epoch(2, 0.05, 0.07, 1e-4))


def test_the_table_has_a_line_an_epoch_and_loses_no_digit() -> None:
    assert table(HISTORY).decode().splitlines() == [
        "number,loss,held_out_loss,learning_rate",
        "1,0.5,0.6,0.001",
        "2,0.05,0.07,0.0001",
    ]


def test_the_drawing_is_the_same_bytes_for_the_same_numbers_and_names_both_curves() -> None:
    assert draw(HISTORY) == draw(HISTORY)
    text = draw(HISTORY).decode()
    assert ">training<" in text
    assert ">held out, averaged<" in text
    assert draw(HISTORY) != draw(HISTORY[:1])
