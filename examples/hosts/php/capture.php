<?php

/*
 * Captures orders from PHP, through its FFI.
 *
 *     php capture.php [PREFIX] < orders
 *
 * orders has a line for each capture: ORDER_ID AMOUNT NAME, such as
 * f3392f8b-6116-4073-ab96-e330819e2c07 6000 parcel-1. A line is printed for
 * each: ORDER_ID NAME captured CAPTURE_ID, or ORDER_ID NAME and the error. Ends
 * with 75 when an outcome is unknown: run it again with the same lines, what
 * was captured is not captured twice. The account comes from KLARNA_USERNAME,
 * KLARNA_PASSWORD and KLARNA_ENVIRONMENT, or the other variables that takings.h
 * names. PREFIX is where takings was installed, /usr/local when absent.
 */

declare(strict_types=1);

require __DIR__ . '/Takings.php';

const TRY_AGAIN = 75;

$client = Takings\Client::fromEnvironment($argv[1] ?? '/usr/local');
$status = 0;
while (($line = fgets(STDIN)) !== false) {
    // "60.00" is no whole number, and "parcel 1" would be the key of "parcel 2"
    // without its second word.
    if (!preg_match('/^(\S+) (-?\d+) (\S+)$/', trim($line), $words)) {
        echo 'no ORDER_ID AMOUNT NAME: ' . trim($line) . "\n";
        $status = $status ?: 1;
        continue;
    }
    [, $orderId, $amount, $name] = $words;
    try {
        // the same for the same order and name, in every run
        $key = $client->idempotencyKey($orderId, $name);
        $capture = $client->capture($orderId, ['captured_amount' => (int) $amount, 'reference' => $name], $key);
        echo "$orderId $name captured $capture->capture_id\n";
    } catch (Takings\InvalidInput | Takings\Rejected $error) {
        echo "$orderId $name $error->kind: {$error->getMessage()}\n";
        $status = $status ?: 1;
    } catch (Takings\Error $error) {
        echo "$orderId $name $error->kind: {$error->getMessage()}\n";
        $status = TRY_AGAIN;
    }
}
exit($status);
