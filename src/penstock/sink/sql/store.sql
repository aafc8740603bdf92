-- Named blocks: each begins with its name between double dashes.

-- reject --
INSERT INTO rejected_event (sender, tag, chunk, reason, raw)
VALUES ($1, $2, $3, $4, $5)

-- next_receiver --
SELECT nextval('penstock_receiver')
