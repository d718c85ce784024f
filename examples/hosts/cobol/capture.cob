      *> Captures orders from COBOL, over the C ABI.
      *>
      *>     cobc -x -fstatic-call -I $PREFIX/share/takings capture.cob \
      *>         -L $PREFIX/lib -ltakings -Q -Wl,-rpath,$PREFIX/lib
      *>     ./capture < orders
      *>
      *> orders has a line for each capture: ORDER_ID AMOUNT NAME, such as
      *> f3392f8b-6116-4073-ab96-e330819e2c07 6000 parcel-1. A line is
      *> shown for each: ORDER_ID NAME captured CAPTURE_ID, or ORDER_ID
      *> NAME and the error. Ends with 75 when an outcome is unknown: run
      *> it again with the same lines, what was captured is not captured
      *> twice. The account comes from KLARNA_USERNAME, KLARNA_PASSWORD
      *> and KLARNA_ENVIRONMENT, or the other variables that takings.h
      *> names.
       IDENTIFICATION DIVISION.
       PROGRAM-ID. capture.

       ENVIRONMENT DIVISION.
       INPUT-OUTPUT SECTION.
       FILE-CONTROL.
           SELECT orders ASSIGN TO KEYBOARD
               ORGANIZATION IS LINE SEQUENTIAL.

       DATA DIVISION.
       FILE SECTION.
       FD orders.
       01 order-line PIC X(1024).

       WORKING-STORAGE SECTION.
       COPY "takings.cpy".
       78 try-again VALUE 75.
       01 at-end PIC 9 VALUE 0.
      *> Texts for C end with a NUL.
       01 order-id PIC X(1024).
       01 capture-name PIC X(1024).
       01 amount-text PIC X(1024).
       01 more-text PIC X(1024).
       01 points BINARY-LONG.
      *> int64_t
       01 amount PIC S9(18) COMP-5.
      *> Handles: takings_..._t * in takings.h. NULL is none.
       01 a-client USAGE POINTER.
       01 a-key USAGE POINTER.
       01 a-request USAGE POINTER.
       01 a-capture USAGE POINTER.
       01 an-error USAGE POINTER.
       01 a-text USAGE POINTER.
       01 kind BINARY-LONG.
       01 shown PIC X(1024).
       01 kind-name PIC X(32).
       01 exit-code BINARY-LONG VALUE 0.

       LINKAGE SECTION.
      *> What a-text points at, up to its NUL.
       01 c-text PIC X(1024).

       PROCEDURE DIVISION.
      *> RETURNING OMITTED: otherwise a call leaves its result, or an
      *> undefined value, in RETURN-CODE. an-error shows a failure.
       main-line.
           SET an-error TO NULL
           CALL "takings_client_from_env" USING OMITTED
               BY REFERENCE an-error
               RETURNING a-client
           IF a-client = NULL
               PERFORM read-error
               DISPLAY FUNCTION TRIM(shown) UPON SYSERR
               MOVE 2 TO RETURN-CODE
               GOBACK
           END-IF
           OPEN INPUT orders
           PERFORM UNTIL at-end = 1
               READ orders
                   AT END MOVE 1 TO at-end
                   NOT AT END PERFORM capture-one
               END-READ
           END-PERFORM
           CLOSE orders
           CALL "takings_client_free" USING BY VALUE a-client
               RETURNING OMITTED
           MOVE exit-code TO RETURN-CODE
           GOBACK.

       capture-one.
           MOVE SPACES TO order-id amount-text capture-name more-text
           UNSTRING order-line DELIMITED BY ALL SPACE
               INTO order-id amount-text capture-name more-text
           END-UNSTRING
      *> "60.00" is no whole number, and "parcel 1" would be the key of
      *> "parcel 2" without its second word.
           MOVE 0 TO points
           INSPECT amount-text TALLYING points FOR ALL "."
           IF capture-name = SPACES OR more-text NOT = SPACES
                   OR points NOT = 0
                   OR FUNCTION TEST-NUMVAL(amount-text) NOT = 0
               PERFORM not-a-line
               EXIT PARAGRAPH
           END-IF
           COMPUTE amount = FUNCTION NUMVAL(amount-text)
               ON SIZE ERROR
                   PERFORM not-a-line
                   EXIT PARAGRAPH
           END-COMPUTE
           DISPLAY FUNCTION TRIM(order-id) " "
               FUNCTION TRIM(capture-name) " " WITH NO ADVANCING
           INSPECT order-id REPLACING ALL SPACE BY LOW-VALUE
           INSPECT capture-name REPLACING ALL SPACE BY LOW-VALUE

           SET an-error TO NULL
           SET a-capture TO NULL
      *> The same for the same order and name, in every run.
           CALL "takings_idempotency_key" USING
               BY REFERENCE order-id
               BY REFERENCE capture-name
               BY REFERENCE an-error
               RETURNING a-key
           CALL "takings_json_new" RETURNING a-request
      *> SIZE 8: without it COBOL passes 32 bits, a cut amount.
           IF an-error = NULL
               CALL "takings_json_set_integer" USING
                   BY VALUE a-request
                   BY REFERENCE Z"/captured_amount"
                   BY VALUE SIZE 8 amount
                   BY REFERENCE an-error
                   RETURNING OMITTED
           END-IF
           IF an-error = NULL
               CALL "takings_json_set_string" USING
                   BY VALUE a-request
                   BY REFERENCE Z"/reference"
                   BY REFERENCE capture-name
                   BY REFERENCE an-error
                   RETURNING OMITTED
           END-IF
           IF an-error = NULL
               CALL "takings_json_text" USING BY VALUE a-request
                   RETURNING a-text
               CALL "takings_client_capture" USING
                   BY VALUE a-client
                   BY REFERENCE order-id
                   BY VALUE a-text
                   BY VALUE a-key
                   BY REFERENCE an-error
                   RETURNING a-capture
           END-IF

           IF a-capture NOT = NULL
               CALL "takings_capture_capture_id" USING
                   BY VALUE a-capture
                   RETURNING a-text
               PERFORM read-text
               DISPLAY "captured " FUNCTION TRIM(shown)
           ELSE
               CALL "takings_error_kind" USING BY VALUE an-error
                   RETURNING kind
               CALL "takings_error_kind_name" USING BY VALUE an-error
                   RETURNING a-text
               PERFORM read-text
               MOVE shown TO kind-name
               PERFORM read-error
               DISPLAY FUNCTION TRIM(kind-name) ": "
                   FUNCTION TRIM(shown)
               IF kind = TAKINGS-ERROR-INVALID-INPUT
                       OR kind = TAKINGS-ERROR-REJECTED
                   PERFORM refused
               ELSE
                   MOVE try-again TO exit-code
               END-IF
           END-IF

           CALL "takings_capture_free" USING BY VALUE a-capture
               RETURNING OMITTED
           CALL "takings_json_free" USING BY VALUE a-request
               RETURNING OMITTED
           CALL "takings_string_free" USING BY VALUE a-key
               RETURNING OMITTED.

      *> The message of the error, which ends here.
       read-error.
           CALL "takings_error_message" USING BY VALUE an-error
               RETURNING a-text
           PERFORM read-text
           CALL "takings_error_free" USING BY VALUE an-error
               RETURNING OMITTED
           SET an-error TO NULL.

       read-text.
           SET ADDRESS OF c-text TO a-text
           MOVE SPACES TO shown
           STRING c-text DELIMITED BY LOW-VALUE INTO shown
           END-STRING.

       not-a-line.
           DISPLAY "no ORDER_ID AMOUNT NAME: "
               FUNCTION TRIM(order-line)
           PERFORM refused.

       refused.
           IF exit-code NOT = try-again
               MOVE 1 TO exit-code
           END-IF.
