"""What must hold of the rows at any moment between transactions (clause 3.3.2): each query finds what breaks it."""

from __future__ import annotations

CONDITIONS = {
    "1: a warehouse has taken what its districts have": """
        SELECT w_id, w_ytd, total FROM warehouse
        JOIN (SELECT d_w_id, SUM(d_ytd) AS total FROM district GROUP BY d_w_id) d ON d_w_id = w_id
        WHERE w_ytd <> total""",
    "2: the next order's number follows the last order": """
        SELECT d_w_id, d_id, d_next_o_id, last FROM district
        JOIN (SELECT o_w_id, o_d_id, MAX(o_id) AS last FROM orders GROUP BY o_w_id, o_d_id) o
        ON o_w_id = d_w_id AND o_d_id = d_id WHERE d_next_o_id <> last + 1""",
    "2: … and the last new order": """
        SELECT d_w_id, d_id, d_next_o_id, last FROM district
        JOIN (SELECT no_w_id, no_d_id, MAX(no_o_id) AS last FROM new_order GROUP BY no_w_id, no_d_id) n
        ON no_w_id = d_w_id AND no_d_id = d_id WHERE d_next_o_id <> last + 1""",
    "3: new orders have no gaps": """
        SELECT no_w_id, no_d_id FROM new_order GROUP BY no_w_id, no_d_id
        HAVING MAX(no_o_id) - MIN(no_o_id) + 1 <> COUNT(*)""",
    "4: orders count their lines": """
        SELECT o_w_id, o_d_id, ordered, found FROM
        (SELECT o_w_id, o_d_id, SUM(o_ol_cnt) AS ordered FROM orders GROUP BY o_w_id, o_d_id) o
        JOIN (SELECT ol_w_id, ol_d_id, COUNT(*) AS found FROM order_line GROUP BY ol_w_id, ol_d_id) l
        ON ol_w_id = o_w_id AND ol_d_id = o_d_id WHERE ordered <> found""",
    "5: an order without a carrier is new, and no other": """
        SELECT o_w_id, o_d_id, o_id FROM orders
        LEFT JOIN new_order ON no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id
        WHERE (o_carrier_id IS NULL) <> (no_o_id IS NOT NULL)""",
    "6: each order has its lines": """
        SELECT o_w_id, o_d_id, o_id FROM orders WHERE o_ol_cnt <>
        (SELECT COUNT(*) FROM order_line WHERE ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id)""",
    "7: lines are delivered with their order": """
        SELECT ol_w_id, ol_d_id, ol_o_id, ol_number FROM order_line
        JOIN orders ON o_w_id = ol_w_id AND o_d_id = ol_d_id AND o_id = ol_o_id
        WHERE (ol_delivery_d IS NULL) <> (o_carrier_id IS NULL)""",
    "8: a warehouse has taken what its history tells": """
        SELECT w_id, w_ytd, total FROM warehouse
        JOIN (SELECT h_w_id, SUM(h_amount) AS total FROM history GROUP BY h_w_id) h ON h_w_id = w_id
        WHERE w_ytd <> total""",
    "9: … and so has a district": """
        SELECT d_w_id, d_id, d_ytd, total FROM district
        JOIN (SELECT h_w_id, h_d_id, SUM(h_amount) AS total FROM history GROUP BY h_w_id, h_d_id) h
        ON h_w_id = d_w_id AND h_d_id = d_id WHERE d_ytd <> total""",
    "12: a customer owes what was delivered and not paid": """
        SELECT c_w_id, c_d_id, c_id, c_balance, c_ytd_payment, amount FROM customer
        LEFT JOIN (SELECT o_w_id, o_d_id, o_c_id, SUM(ol_amount) AS amount FROM orders
        JOIN order_line ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
        WHERE ol_delivery_d IS NOT NULL GROUP BY o_w_id, o_d_id, o_c_id) o
        ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id
        WHERE c_balance + c_ytd_payment <> IFNULL(amount, 0)""",
}
"""Condition 10 is about a customer's history, which lies where the payment was taken: TOTALS has it over everything,
and what stock has sent out against what was ordered."""

TOTALS = {
    "10: customers have paid what history tells": (
        "SELECT SUM(c_ytd_payment) FROM customer",
        "SELECT SUM(h_amount) FROM history",
    ),
    "stock has sent out what was ordered": (
        "SELECT SUM(s_ytd) FROM stock",
        "SELECT SUM(ol_quantity) FROM order_line WHERE ol_o_id > {first}",
    ),
    "stock knows of every line": (
        "SELECT SUM(s_order_cnt) FROM stock",
        "SELECT COUNT(*) FROM order_line WHERE ol_o_id > {first}",
    ),
}
"""Two statements that give the same number. `first`: the last order of a fresh district."""
