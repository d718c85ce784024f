<?php declare(strict_types=1);

namespace Takings;

/** Why a call failed: its class says what it means for the money. Its fields
 * are those of takings.h; null: absent. */
abstract class Error extends \RuntimeException
{
    final public function __construct(public readonly array $fields) { parent::__construct($fields['message']); }
    public function __get(string $name): mixed { return $this->fields[$name] ?? null; }
    public function __isset(string $name): bool { return isset($this->fields[$name]); }
}
/** The input was refused and nothing was sent: fix the code or the data. */
final class InvalidInput extends Error {}
/** Nothing can have reached Klarna: call again at any time, with the same
 * key. */
final class NotSent extends Error {}
/** Klarna refused it, and nothing was captured under this key: fix the cause;
 * the next capture needs a new key. */
final class Rejected extends Error {}
/** It may have been captured: call again with the same key within 24 hours of
 * its first use; never book it as failed. */
final class OutcomeUnknown extends Error {}
/** A bug in takings: report it. If attempts is above 0, treat it as
 * OutcomeUnknown. */
final class Internal extends Error {}

/** Calls Klarna for one account, through libtakings where `make install` put
 * it. Keep it: it reuses its connections. */
final class Client
{
    private static array $libraries = [];
    private function __construct(private readonly \FFI $c, private readonly \FFI\CData $client) {}

    /** From the settings by their names in C: environment, username … */
    public static function fromConfig(#[\SensitiveParameter] array $config, string $prefix = '/usr/local'): self
    {
        return new self($c = self::library($prefix), self::ask($c, 'client_new', self::json($config)));
    }

    /** From KLARNA_USERNAME and the other variables that takings.h names, with
     * these settings before them. */
    public static function fromEnvironment(
        string $prefix = '/usr/local',
        #[\SensitiveParameter] array $config = []
    ): self
    {
        return new self($c = self::library($prefix), self::ask($c, 'client_from_env', self::json($config)));
    }

    /** The same key for the same order and name, after a crash, on any host.
     * Two parcels need two names. */
    public function idempotencyKey(
        string $orderId,
        string $name,
        string $operation = 'capture',
        ?string $captureId = null
    ): string {
        $key = self::ask($this->c, 'idempotency_key_for', $operation, $orderId, $captureId, $name);
        try { return \FFI::string($key); } finally { $this->c->takings_string_free($key); }
    }

    /** Captures the order. With a key of your own it can be called again after
     * a crash: the money moves once. */
    public function capture(string $orderId, array $request, ?string $idempotencyKey = null): object
    {
        return $this->call('capture', $orderId, $request, $idempotencyKey);
    }

    /** Any operation that takings.h has, with its arguments by name. It blocks
     * for timeout_ms at most. */
    public function call(string $operation, string $orderId, array $arguments, ?string $idempotencyKey = null): object
    {
        $json = self::json($arguments);
        $reply = self::ask($this->c, 'client_call', $this->client, $operation, $orderId, $json, $idempotencyKey);
        try { return json_decode($this->c->takings_reply_json($reply)); } finally { $this->c->takings_reply_free($reply); }
    }

    public function __destruct() { $this->c->takings_client_free($this->client); }
    /** Two objects would free one client. */
    private function __clone() {}

    private static function library(string $prefix): \FFI
    {
        $header = "$prefix/share/takings/takings.ffi.h";
        is_readable($header) || self::refuse("$header is not there: name the PREFIX that takings was installed in");
        try {
            return self::$libraries[$prefix] ??= \FFI::cdef(file_get_contents($header), "$prefix/lib/libtakings.so.1");
        } catch (\Throwable $why) {
            self::refuse("$prefix/lib/libtakings.so.1 cannot be used: {$why->getMessage()}");
        }
    }

    /** A list stays a list and 6000.0 a fraction, so that the library judges
     * what the program meant. */
    private static function json(#[\SensitiveParameter] array $value): string
    {
        try {
            return json_encode($value ?: new \stdClass(), JSON_PRESERVE_ZERO_FRACTION | JSON_THROW_ON_ERROR);
        } catch (\Throwable $why) { // also one of an object's own jsonSerialize
            self::refuse("the arguments cannot be JSON: {$why->getMessage()}");
        }
    }

    /** What a function of takings.h gives, or its error. C's texts end at a
     * NUL: half an order id is another's. */
    private static function ask(\FFI $c, string $function, #[\SensitiveParameter] mixed ...$arguments): \FFI\CData
    {
        foreach ($arguments as $text) {
            is_string($text) && str_contains($text, "\0") && self::refuse('a text with a NUL; it must be one without');
        }
        try {
            $error = $c->new('takings_error_t *');
            $given = $c->{"takings_$function"}(...[...$arguments, \FFI::addr($error)]);
        } catch (\Throwable $why) {
            // The FFI refused an argument or a declaration: nothing was called.
            self::refuse("takings_$function cannot be called ({$why->getMessage()}): are header and library of one version?");
        }
        if ($given !== null) {
            return $given;
        }
        $fields = json_decode($c->takings_error_json($error), true);
        $c->takings_error_free($error);
        $class = __NAMESPACE__ . '\\' . str_replace('_', '', ucwords($fields['kind'], '_'));
        // A kind that a later version adds means what an unknown outcome means.
        throw new (is_subclass_of($class, Error::class) ? $class : OutcomeUnknown::class)($fields);
    }

    private static function refuse(string $message): never
    {
        throw new InvalidInput(['kind' => 'invalid_input', 'message' => $message, 'attempts' => 0]);
    }
}
