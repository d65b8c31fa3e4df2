INSERT INTO tickets (id, owner, note) VALUES (10, 1, 'a'), (11, 2, 'b'), (12, 3, 'c'), (13, 4, 'd')
INSERT INTO tickets (id, owner, note) VALUES (24, 4, 'a'), (23, 3, 'b'), (22, 2, 'c'), (21, 1, 'd')
INSERT INTO tickets (id, owner, note) VALUES (30, 1, 'only')
INSERT INTO tickets (id, owner, note) VALUES ('31', 1, 'text'), (32, 2, 'text'), ('33', 3, 'text'), (34, 4, 't')
INSERT INTO tickets VALUES (41, 1, 'x'), (42, 2, 'y'), (43, 3, 'z'), (44, 4, 'z')
INSERT IGNORE INTO tickets VALUES (41, 1, 'x'), (52, 2, 'y'), (53, 3, 'z'), (44, 4, 'z')
INSERT IGNORE INTO tickets VALUES (41, 1, 'x'), (42, 2, 'y'), (43, 3, 'z'), (44, 4, 'z')
REPLACE INTO tickets VALUES (41, 1, 'x'), (42, 2, 'y'), (43, 3, 'z'), (64, 4, 'z')
INSERT INTO tickets VALUES (41, 1, 'p'), (72, 2, 'p'), (43, 3, 'p'), (44, 4, 'p') ON DUPLICATE KEY UPDATE note = 'new'
INSERT INTO tickets VALUES (71, 1, 'p'), (72, 2, 'p'), (73, 3, 'p'), (41, 1, 'p') ON DUPLICATE KEY UPDATE note = 'new'
INSERT INTO tickets VALUES (81, 1, 'p'), (82, 2, 'p'), (83, 3, 'p'), (81, 1, 'p')
INSERT INTO colours VALUES (5, 'red')
INSERT INTO colours (id, name) VALUES (6, 'blue'), (7, 'green')
INSERT INTO colours (id, name) VALUES (8, CONCAT('gr', 'ey'))
UPDATE colours SET name = 'grey' WHERE id = 8
REPLACE INTO colours VALUES (5, 'dark red')
