-- Named blocks: each begins with its name between double dashes.

-- reject --
INSERT INTO rejected_event (sender, tag, chunk, reason, sqlstate, raw)
VALUES ($1, $2, $3, $4, $5, $6)

-- next_receiver --
SELECT nextval('penstock_receiver')
