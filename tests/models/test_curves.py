from models.curves import Epoch, best, draw, table

HISTORY = (Epoch(1, 0.5, 0.6, 1e-3), Epoch(2, 0.05, 0.07, 1e-4))
DUEL = (
    Epoch(3, -0.5, None, 1e-3, stage="duel", parts={"a/x": -0.5, "b/y": 1.0}),
    Epoch(4, -0.6, None, 1e-4, stage="duel", parts={"a/x": -0.6}),
)


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


def test_parts_are_columns_and_have_their_own_panel() -> None:
    assert table(DUEL).decode().splitlines() == [
        "number,loss,held_out_loss,learning_rate,a/x,b/y",
        "3,-0.5,,0.001,-0.5,1.0",
        "4,-0.6,,0.0001,-0.6,",
    ]
    text = draw(DUEL).decode()
    assert ">a/x<" in text
    assert ">parts of the loss<" in text
    assert ">stage duel<" in text
    assert ">held out, averaged<" not in text


def test_the_kept_epoch_is_the_last_stage_s_best_or_its_last() -> None:
    assert best(HISTORY).number == 2
    assert best((*HISTORY, *DUEL)).number == 4
