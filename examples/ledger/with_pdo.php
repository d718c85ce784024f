<?php declare(strict_types=1);
// A shop over PDO: with_pdo.php ship ORDER PARCEL AMOUNT, or … outcomes

const NEWS = "
    UPDATE takings_capture SET seen_at = clock_timestamp() WHERE id = ANY (ARRAY (
        SELECT id FROM takings_capture
        WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at)
        ORDER BY settled_at LIMIT 100 FOR UPDATE SKIP LOCKED))
    RETURNING reference, state, coalesce(error_code, '-')";

/** Runs $work in a transaction; again if another one inserted the name first,
 * or if it could not be put in order with others. */
function transaction(PDO $db, callable $work): mixed
{
    for ($tries = 1; ; $tries++) {
        $db->beginTransaction();
        try {
            $result = $work();
            $db->commit();
            return $result;
        } catch (Throwable $why) {
            $db->inTransaction() && $db->rollBack();
            $again = $why instanceof PDOException && in_array($why->errorInfo[0] ?? '', ['23505', '40001', '40P01']);
            if (!$again || $tries === 3) { throw $why; }
        }
    }
}

/** $amount: minor units. With strict_types PHP refuses 60.5, '60.00' and null. */
function ship(PDO $db, string $orderId, string $parcel, int $amount): void
{
    transaction($db, function () use ($db, $orderId, $parcel, $amount) {
        $db->prepare("UPDATE parcel SET state = 'shipped' WHERE name = ? AND state = 'packed'")->execute([$parcel]);
        $db->prepare('INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES (?, ?, ?)')
            ->execute([$orderId, $parcel, $amount]);
    });
}

function outcomes(PDO $db): array
{
    return transaction($db, function () use ($db) {
        $news = $db->query(NEWS)->fetchAll(PDO::FETCH_NUM);
        $ended = $db->prepare('UPDATE parcel SET state = ? WHERE name = ?');
        foreach ($news as [$parcel, $state]) { $ended->execute([$state, $parcel]); }
        return $news;
    });
}

try {
    $db = new PDO('pgsql:', options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
    if ($argv[1] === 'ship') {
        ship($db, $argv[2], $argv[3], json_decode($argv[4]));
        echo "$argv[3] shipped\n";
    } else {
        foreach (outcomes($db) as $row) { echo implode(' ', $row), "\n"; }
    }
} catch (PDOException | TypeError $why) {
    fwrite(STDERR, $why->getMessage() . "\n");
    exit(1);
}
