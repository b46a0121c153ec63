/* openapi_schemas.c - what answers look like, in words short enough to be read beside the code.
 *
 * A schema is a list of members, "name:type": s text, i whole number, b boolean, o any object,
 * @Name another schema, [type] a list of it. A ? behind the type: it may be null; behind the name:
 * it may be absent. A list that begins with +Name has the members of that schema too.
 */
#include "base/check.h"
#include "edge/api_int.h"
#include "edge/openapi.h"

static const struct schema {
    const char *name;
    const char *members;
} schemas[] = {
    {"Error", "error:s code:s param?:s required?:s"},
    {"Ok", "ok:b"},

    {"Account", "id:s name:s"},
    {"User", "id:s email:s name:s? role:s isAdmin:b"},
    {"Member", "id:s email:s name:s? role:s status:s createdAt:i lastLoginAt:i? isAdmin:b"},
    {"NewMember", "+Member inviteToken?:s"},
    {"SignedUp", "token:s user:@User account:@Account apiKey:s"},
    {"Rotation", "ok:b generation:i"},
    {"LoggedIn", "token:s user:@User"},
    {"KeyHint", "id:s name:s prefix:s last4:s"},
    {"Me", "account:@Account user?:@User email:s? emailVerified:b role?:s key?:@KeyHint "
           "scopes:[s] mode:s "
           "plan:s"},

    {"Accepted", "id:s status:s"},
    {"BatchResult", "id?:s status?:s error?:s code?:s param?:s required?:s statusCode?:i"},
    {"Batch", "results:[@BatchResult]"},
    {"Scheduled", "id:s status:s messageId:s scheduledAt:i createdAt:i from:@Person to:[s] cc:[s] "
                  "subject:s? mode:s metadata:o tags:[s]"},
    {"Cancelled", "ok:b id:s status:s"},

    {"Key", "id:s name:s prefix:s last4:s mode:s permission:s scopes:[s] domains:[s] addresses:[s] "
            "allowedIps:[s] expiresAt:i? enabled:b metadata:o status:s createdAt:i createdBy:s? "
            "lastUsedAt:i? lastUsedIp:s? replacedBy:s?"},
    {"NewKey", "+Key key:s"},
    {"KeyText", "key:s"},
    {"AuditActor", "type:s id?:s name?:s"},
    {"Audit", "id:s type:s createdAt:i actor:@AuditActor ip:s? target:s detail:s"},

    {"Tracking", "host:s? verified:b opens:b clicks:b"},
    {"Domain", "id:s domain:s status:s mx_verified:b spf_verified:b dkim_verified:b "
               "dmarc_verified:b webhookUrl:s? webhookAckMode:s? retentionDays:i zeroRetention:b "
               "tracking:@Tracking created_at:i"},
    {"DnsRecord", "type:s name:s value:s priority?:i purpose:s removeAfter?:i status:s"},
    {"DomainWithDns", "domain:@Domain dns:[@DnsRecord]"},
    {"Checks", "mx:b spf:b dkim:b dmarc:b tracking?:b"},
    {"HealthCheck", "name:s status:s found:s? advice:s?"},
    {"DomainHealth", "checkedAt:i? checks:[@HealthCheck]"},
    {"DomainChecks", "status:s checks:@Checks checkedAt:i"},

    {"DomainHook", "domain:s webhookUrl:s ackMode:s routeId:s signingSecret:s"},
    {"Called", "ok:b status:i"},
    {"Secret", "secret:s"},
    {"Events", "events:[s]"},
    {"Replayed", "ok:b count:i next:i?"},
    {"Route", "id:s match_pattern:s action:s destination:s? ackMode:s enabled:b "
              "signing_secret:s? created_at:i"},

    {"Person", "address:s name?:s"},
    {"Message", "id:s direction:s mode:s from_addr:s to_addr?:s from:@Person to:[s] cc:[s] "
                "subject:s? spf:s? dkim:s? dmarc:s? spam:s? thread_id:s? received_at:i "
                "size_bytes:i send_status:s? scheduled_at:i? "
                "webhook_status:s? opens?:i clicks?:i report:s? metadata:o tags:[s]"},
    {"Header", "name:s value:s"},
    {"FullMessage",
     "+Message bcc:[s] message_id:s priority?:s pool?:s? requires_tls?:b text_body:s? "
     "html_body:s? headers_json:[@Header]"},
    {"Attempt", "attempt:i at:i ended_at:i outcome:s step:s status_code:i enhanced_status:s? "
                "bounceClass:s? response:s? remote_host:s? remote_addr:s? tls:s? tlsPolicy:s? "
                "source:s? transcript:s?"},
    {"Delivery",
     "id:s kind:s recipient?:s url?:s status:s attempts:i last_status_code:i "
     "last_response:s? enhanced_status:s? bounceClass:s? remote_host:s? tls:s? next_attempt_at:i? "
     "opens?:i clicks?:i opened_at?:i? clicked_at?:i? unsubscribed?:b "
     "unsubscribe_url?:s log:[@Attempt]"},
    {"Attachment", "id:s filename:s? contentType:s? size:i contentId:s? disposition:s url:s "
                   "expiresAt:i"},
    {"Event", "id:s type:s createdAt:i to?:s code?:i enhanced?:s detail?:s data?:o"},
    {"MessageWithDeliveries", "message:@FullMessage deliveries:[@Delivery] "
                              "attachments:[@Attachment] events:[@Event]"},
    {"Retried", "ok:b status:s"},

    {"Mailbox", "id:s address:s name:s? domain_id:s created_at:i"},
    {"Mailboxes", "data:[@Mailbox] total:i page:i per_page:i"},
    {"BoxMessage", "+Message read:b starred:b folder:s mailbox_ids:[s]"},
    {"BoxMessages", "data:[@BoxMessage] total:i page:i per_page:i"},
    {"FullBoxMessage", "+FullMessage read:b starred:b folder:s mailbox_ids:[s] "
                       "attachments:[@Attachment]"},
    {"Thread", "id:s subject:s? message_count:i first_at:i last_at:i"},
    {"Threads", "data:[@Thread] total:i page:i per_page:i"},
    {"ThreadWithMessages", "+Thread messages:[@BoxMessage]"},

    {"TemplateHint", "id:s name:s created_at:i updated_at:i"},
    {"Template", "+TemplateHint subject:s? html:s? text:s?"},
    {"Rendered", "subject:s? html:s? text:s?"},
    {"Suppression", "email:s reason:s note:s? created_at:i"},

    {"Limits", "dailyMax:i ratePerMin:i keyRatePerMin:i retentionDays:i"},
    {"AdminAccount", "id:s name:s createdAt:i suspended:b limits:@Limits ownerEmail:s?"},
    {"AdminAccounts", "data:[@AdminAccount] shard:i shardCount:i next:s?"},
    {"AdminUser", "id:s email:s name:s? accountId:s role:s isAdmin:b emailVerified:b createdAt:i "
                  "lastLoginAt:i?"},
    {"AdminUsers", "data:[@AdminUser] shard:i shardCount:i next:s?"},
    {"Today", "mails:i recipients:i bytes:i"},
    {"AdminAccountFacts", "account:@AdminAccount users:[@AdminUser] keyCount:i domainCount:i "
                          "today:@Today"},
    {"AdminNewUser", "user:@User account:@Account apiKey:s password?:s"},
    {"TopProcess", "residentBytes:i virtualBytes:i cpuUs:i openFiles:i openFilesMax:i startedAt:i"},
    {"TopTotals", "accepted:i acceptedBytes:i received:i submitted:i delivered:i deferred:i "
                  "bounced:i webhooksAcknowledged:i webhooksDeferred:i webhooksFailed:i "
                  "requests:i serverErrors:i shed:i connections:i smtpSessions:i "
                  "submissionSessions:i scheduled:i dueTransactional:i dueBulk:i "
                  "attemptsOpen:i sitesKnown:i sitesClosed:i commitBatches:i commitRows:i "
                  "commitSyncs:i commitFailed:i freeBytes:i writeStopped:i "
                  "delayedBytesPerSecond:i compactionsRunning:i workers:i workerJobs:i "
                  "workerTasks:i slowHandlers:i logDropped:i requestUs:i webhookUs:i "
                  "commitUs:i workerWaitUs:i workerUs:i"},
    {"TopLoop", "loop:s idleUs:i turns:i connections:i requests:i poolSize:i poolFree:i "
                "portDepth:i handled:i handlerUs:i slowHandlers:i"},
    {"TopShard", "shard:i accepted:i batches:i rows:i commitUs:i memtableBytes:i "
                 "compactionDebtBytes:i poolSize:i poolFree:i portDepth:i handled:i "
                 "handlerUs:i slowHandlers:i"},
    {"AdminTop", "at:i atUs:i version:s process:@TopProcess totals:@TopTotals loops:[@TopLoop] "
                 "shards:[@TopShard] sites?:[@QueueSite]"},
    {"AdminServer", "version:s uptimeSeconds:i state:s boot:i loops:i shards:i accounts:i store:s "
                    "publicUrl:s"},
    {"InspectCount", "count:i isExact:b"},
    {"InspectOutbox", "count:i isExact:b oldestDueAt:s?"},
    {"InspectFamilyStore",
     "rows:i tableBytes:i memtableBytes:i memtablesWaiting:i blobFiles:i blobBytes:i "
     "blobGarbageBytes:i compactionBytes:i isFlushPending:b isCompactionPending:b slowdowns:i "
     "stops:i levelFiles:[i]"},
    {"InspectPool", "free:i count:i"},
    {"InspectActor", "port:i portMax:i backlog:i isHeld:b handled:i handlerUs:i "
                     "requests:@InspectPool wakes:@InspectPool jobs:i jobsReady:i lookups:i "
                     "cacheHits:i cacheMisses:i mails:i mailBytes:i intakeBytes:i"},
    {"InspectLatency", "count:i p50:i p99:i max:i"},
    {"InspectBatch", "rows:i bytes:i waiting:i"},
    {"InspectCommit", "batches:i rows:i bytes:i rowsMax:i lost:i us:@InspectLatency "
                      "lastMinuteUs:@InspectLatency filling:@InspectBatch flying:@InspectBatch?"},
    {"InspectScan", "isOwed:b isRunning:b owedFromAt:s? toldUntilAt:s?"},
    {"Shard", "shard:i? loop:s isDraining:b name:s accounts:@InspectCount? outbox:@InspectOutbox? "
              "store:@InspectFamilyStore actor:@InspectActor commit:@InspectCommit "
              "scan:@InspectScan"},
    {"InspectStore", "runningFlushes:i runningCompactions:i isWriteStopped:b "
                     "delayedBytesPerSecond:i backgroundErrors:i cacheBytes:i cacheCapacity:i "
                     "logBytes:i freeBytes:i"},
    {"Shards", "data:[@Shard] store:@InspectStore shardCount:i"},
    {"InspectFamily", "family:s tag:s count:i isExact:b tableBytes:i"},
    {"ShardWithFamilies", "+Shard families:[@InspectFamily]"},
    {"ShardRow", "key:s family:s? bytes:i row:o? isDamaged:b"},
    {"ShardRows", "rows:[@ShardRow] next:s? error:s? damaged:i"},
    {"StoredDelivery", "index:i row:o? dueAt?:s? outbox?:o? attempts:[o]"},
    {"StoredMessage", "id:s account:s shard:i mail:o? state:o? stage:o? chunks:i chunkBytes:i "
                      "deliveries:[@StoredDelivery] attachments:[o] events:[o] transcripts?:[o] "
                      "isCut:b damaged:i"},
    {"Job", "id:s type:s state:s cancelling:b by:s? startedAt:i endedAt:i? done:i total:i? unit:s "
            "leftMs:i? working:s? problems:i error:s? report:o?"},
    {"Jobs", "data:[@Job]"},
    {"LogLevel", "event:s? level:s untilAt:i? then:s?"},
    {"LogLevels", "data:[@LogLevel]"},
    {"DrainLeft", "entries:i webhooks:i due:i attempts:i connections:i sessions:i"},
    {"Drain", "state:s stop:b sinceAt:i? untilAt:i? left:@DrainLeft"},
    {"LoopLoad", "loop:i shards:i busyPercent:i plannedPercent:i"},
    {"ShardPlace", "shard:i loop:i busyUs:i"},
    {"ShardMove", "shard:i from:i to:i state:s"},
    {"Places", "state:s dryRun:b windowMs:i balanceBefore:i balanceAfter:i loops:[@LoopLoad] "
               "shards:[@ShardPlace] moves:[@ShardMove]"},
    {"QueueDue", "transactional:i bulk:i"},
    {"QueueSite", "site:s pool:s? group:s due:@QueueDue waiting:i open:i connections:i "
                  "connectionLimit:i ratePerMin:i? messagesPerConnection:i failures:i "
                  "closedUntil:i? reason:s? reasonAt:i? oldestDueAt:i? delivered:i throttled:i "
                  "paused:b"},
    {"QueueSites", "data:[@QueueSite] next:s?"},
    {"QueueAccount", "account:s entries:i due:i open:i oldestDueAt:i? paused:b"},
    {"QueueAccounts", "data:[@QueueAccount] next:s?"},
    {"QueueHold", "type:s site:s? account:s? pool:s? reason:s? by:s? sinceAt:i? untilAt:i?"},
    {"QueueHolds", "data:[@QueueHold] next:s?"},
    {"QueueDone", "ok:b entries:i"},
    {"QueueStep", "upToSeconds:i? count:i"},
    {"QueueAges", "entries:i due:i waiting:i open:i oldestAcceptedAt:s? onDisk:i? "
                  "isEstimate:b beyond:i? byAge:[@QueueStep] byDue:[@QueueStep]"},
    {"TraceStarted", "id:s endsAt:s"},
    {"TraceLine", "at:s kind:s actor:s dialogue:i line:s"},
    {"Trace", "lines:[@TraceLine] next:s lost:i secondsLeft:i over:b more:b"},
    {"ExplainNote", "state:s text:s advice:s? since:s?"},
    {"DeliveryExplained", "id:s kind:s recipient:s route:s? status:s attempts:i site:s? state:s "
                          "done:b needsAction:b text:s advice:s? since:s? next:s? givenUpAt:s?"},
    {"MessageExplained", "message:s account:s direction:s from:s acceptedAt:s? status:s "
                         "notes:[@ExplainNote] deliveries:[@DeliveryExplained] needsAction:b"},
};

bool openapi_has_schema(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        if (slice_equal(name, slice_str(schemas[i].name))) {
            return true;
        }
    }
    return false;
}

static void write_ref(struct json_writer *w, struct slice name)
{
    char text[64];
    struct buf ref;
    CHECK(openapi_has_schema(name));
    CHECK(name.len < sizeof text - 32);
    buf_init(&ref, sizeof text);
    buf_add_str(&ref, "#/components/schemas/");
    buf_add(&ref, name);
    api_text(w, "$ref", buf_slice(&ref));
    buf_fini(&ref);
}

static const char *word_of(char letter)
{
    switch (letter) {
    case 's':
        return "string";
    case 'i':
        return "integer";
    case 'b':
        return "boolean";
    }
    CHECK(letter == 'o');
    return "object";
}

static void write_ref_of(struct json_writer *w, struct slice name, bool is_nullable)
{
    if (!is_nullable) {
        write_ref(w, name);
        return;
    }
    json_key(w, "anyOf");
    json_open_array(w);
    json_open_object(w);
    write_ref(w, name);
    json_close_object(w);
    json_raw(w, SLICE("{\"type\":\"null\"}"));
    json_close_array(w);
}

/* The members of the schema of one type. */
static void write_type(struct json_writer *w, struct slice type)
{
    bool is_nullable = slice_ends(type, SLICE("?"));
    struct slice bare = is_nullable ? slice_head(type, type.len - 1) : type;
    if (bare.data[0] == '[') {
        CHECK(slice_ends(bare, SLICE("]")) && !is_nullable);
        api_text(w, "type", SLICE("array"));
        json_key(w, "items");
        json_open_object(w);
        write_type(w, slice_sub(bare, 1, bare.len - 2));
        json_close_object(w);
        return;
    }
    if (bare.data[0] == '@') {
        write_ref_of(w, slice_from(bare, 1), is_nullable);
        return;
    }
    CHECK(bare.len == 1);
    json_key(w, "type");
    if (is_nullable) {
        json_open_array(w);
        json_text(w, slice_str(word_of(bare.data[0])));
        json_text(w, SLICE("null"));
        json_close_array(w);
    } else {
        json_text(w, slice_str(word_of(bare.data[0])));
    }
}

/* The next "name:type" of *rest; *is_required from the name's question mark. */
static struct slice cut_member(struct slice *rest, struct slice *type, bool *is_required)
{
    *type = slice_cut(rest, ' ');
    struct slice name = slice_cut(type, ':');
    CHECK(name.len > 0);
    CHECK(type->len > 0);
    *is_required = !slice_ends(name, SLICE("?"));
    return *is_required ? name : slice_head(name, name.len - 1);
}

static void write_members(struct json_writer *w, struct slice members)
{
    struct slice rest = members;
    struct slice type;
    bool is_required;
    api_text(w, "type", SLICE("object"));
    json_key(w, "properties");
    json_open_object(w);
    while (rest.len > 0) {
        json_key_slice(w, cut_member(&rest, &type, &is_required));
        json_open_object(w);
        write_type(w, type);
        json_close_object(w);
    }
    json_close_object(w);
    json_key(w, "required");
    json_open_array(w);
    while (members.len > 0) {
        struct slice name = cut_member(&members, &type, &is_required);
        if (is_required) {
            json_text(w, name);
        }
    }
    json_close_array(w);
}

static void write_schema(struct json_writer *w, const struct schema *schema)
{
    struct slice members = slice_str(schema->members);
    json_key(w, schema->name);
    json_open_object(w);
    if (slice_starts(members, SLICE("+"))) {
        struct slice base = slice_from(slice_cut(&members, ' '), 1);
        json_key(w, "allOf");
        json_open_array(w);
        json_open_object(w);
        write_ref(w, base);
        json_close_object(w);
        json_open_object(w);
        write_members(w, members);
        json_close_object(w);
        json_close_array(w);
    } else {
        write_members(w, members);
    }
    json_close_object(w);
}

void openapi_write_schemas(struct json_writer *w)
{
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        write_schema(w, &schemas[i]);
    }
}
