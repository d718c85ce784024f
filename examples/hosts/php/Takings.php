<?php

declare(strict_types=1);

namespace Takings;

/** Why a call failed. What it means for the money is its class. It never holds a credential. */
abstract class Error extends \RuntimeException
{
    /** @param list<string> $errorMessages */
    final public function __construct(
        string $message,
        public readonly string $kind,
        public readonly ?int $httpStatus,
        public readonly ?string $errorCode,
        public readonly array $errorMessages,
        public readonly ?string $correlationId,
        public readonly ?string $orderId,
        public readonly ?string $idempotencyKey,
        public readonly int $attempts,
        public readonly bool $retryable,
    ) {
        parent::__construct($message);
    }
}

/** The input was refused and nothing was sent: mend the code or the data. */
final class InvalidInput extends Error
{
}

/** Nothing can have reached Klarna: call again at any time, with the same key. */
final class NotSent extends Error
{
}

/** Klarna said no and captured nothing: mend the cause; the corrected capture takes a new key. */
final class Rejected extends Error
{
}

/** It may have been captured: call again with the same key within 24 hours; never book it as failed. */
final class OutcomeUnknown extends Error
{
}

/** A bug in takings: report it. If attempts is above 0, treat it as OutcomeUnknown. */
final class Internal extends Error
{
}

/** Klarna captured it: ship. */
final class Capture
{
    /** @param list<string> $warnings order lines that do not add up; it was captured all the same */
    public function __construct(
        public readonly string $captureId,
        public readonly string $orderId,
        public readonly string $idempotencyKey,
        public readonly ?string $correlationId,
        public readonly int $attempts,
        public readonly array $warnings,
    ) {
    }
}

/**
 * Captures the orders of one merchant account, through libtakings where `make install` put it. Make one and keep it: it
 * reuses its connections. A call blocks for timeout_ms at most.
 */
final class Client
{
    /** @var array<string, \FFI> the library of each prefix */
    private static array $libraries = [];

    private function __construct(private readonly \FFI $c, private readonly \FFI\CData $client)
    {
    }

    /** @param array<string, mixed> $config the settings by their names in C: environment, username, timeout_ms … */
    public static function fromConfig(#[\SensitiveParameter] array $config, string $prefix = '/usr/local'): self
    {
        $c = self::library($prefix);
        $error = $c->new('takings_error_t *');
        return new self($c, $c->takings_client_new(self::json($config), \FFI::addr($error)) ?? self::raise($c, $error));
    }

    /** From KLARNA_USERNAME, KLARNA_PASSWORD, KLARNA_ENVIRONMENT and the other variables that takings.h names. */
    public static function fromEnvironment(string $prefix = '/usr/local'): self
    {
        $c = self::library($prefix);
        $error = $c->new('takings_error_t *');
        return new self($c, $c->takings_client_from_env(\FFI::addr($error)) ?? self::raise($c, $error));
    }

    /** The same key for the same order and name, after a crash, on any host. Two parcels need two names. */
    public function idempotencyKey(string $orderId, string $name): string
    {
        $error = $this->c->new('takings_error_t *');
        $key = $this->c->takings_idempotency_key(self::text($orderId), self::text($name), \FFI::addr($error))
            ?? self::raise($this->c, $error);
        try {
            return \FFI::string($key);
        } finally {
            $this->c->takings_string_free($key);
        }
    }

    /**
     * Captures the order, in full or in part, and waits for the outcome. With a key of your own it can be called again
     * after a crash: the money moves once. Without one a fresh key is made for this call.
     *
     * @param array<string, mixed> $request Klarna's request: captured_amount in minor units (60.00 is 6000), reference …
     * @throws Error
     */
    public function capture(string $orderId, array $request, ?string $idempotencyKey = null): Capture
    {
        $c = $this->c;
        $error = $c->new('takings_error_t *');
        $key = $idempotencyKey === null ? null : self::text($idempotencyKey);
        $made = $c->takings_client_capture($this->client, self::text($orderId), self::json($request), $key, \FFI::addr($error))
            ?? self::raise($c, $error);
        try {
            $warnings = [];
            for ($i = 0; $i < $c->takings_capture_warning_count($made); $i++) {
                $warnings[] = $c->takings_capture_warning($made, $i);
            }
            return new Capture(
                $c->takings_capture_capture_id($made),
                $c->takings_capture_order_id($made),
                $c->takings_capture_idempotency_key($made),
                $c->takings_capture_correlation_id($made),
                $c->takings_capture_attempts($made),
                $warnings,
            );
        } finally {
            $c->takings_capture_free($made);
        }
    }

    public function __destruct()
    {
        $this->c->takings_client_free($this->client);
    }

    /** Two objects would free one client. */
    private function __clone()
    {
    }

    /** A stored client would hold a pointer of another process. */
    public function __serialize(): array
    {
        throw new \LogicException('a Takings\Client cannot be serialized; make one in each process');
    }

    private static function library(string $prefix): \FFI
    {
        $header = "$prefix/share/takings/takings.ffi.h";
        if (!is_readable($header)) {
            throw new \RuntimeException("$header is not there: name the PREFIX that takings was installed in");
        }
        return self::$libraries[$prefix] ??= \FFI::cdef(file_get_contents($header), "$prefix/lib/libtakings.so.0");
    }

    /** A list stays a list and 6000.0 a fraction, so that the library judges what the program meant. */
    private static function json(#[\SensitiveParameter] array $value): string
    {
        return json_encode($value ?: new \stdClass(), JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION);
    }

    /** C's texts end at a NUL, and half an order id is another order's. */
    private static function text(string $text): string
    {
        if (str_contains($text, "\0")) {
            throw new \InvalidArgumentException('a text with a NUL character; it must be one without');
        }
        return $text;
    }

    private static function raise(\FFI $c, \FFI\CData $error): never
    {
        try {
            $messages = [];
            for ($i = 0; $i < $c->takings_error_error_message_count($error); $i++) {
                $messages[] = $c->takings_error_error_message($error, $i);
            }
            $class = match ($c->takings_error_kind($error)) {
                $c->TAKINGS_ERROR_INVALID_INPUT => InvalidInput::class,
                $c->TAKINGS_ERROR_NOT_SENT => NotSent::class,
                $c->TAKINGS_ERROR_REJECTED => Rejected::class,
                $c->TAKINGS_ERROR_INTERNAL => Internal::class,
                // and what a later version adds
                default => OutcomeUnknown::class,
            };
            throw new $class(
                $c->takings_error_message($error),
                $c->takings_error_kind_name($error),
                $c->takings_error_http_status($error) ?: null,
                $c->takings_error_error_code($error),
                $messages,
                $c->takings_error_correlation_id($error),
                $c->takings_error_order_id($error),
                $c->takings_error_idempotency_key($error),
                $c->takings_error_attempts($error),
                $c->takings_error_retryable($error),
            );
        } finally {
            $c->takings_error_free($error);
        }
    }
}
