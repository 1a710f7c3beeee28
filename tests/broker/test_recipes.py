"""The pages of docs/recipes show excerpts of docs/examples, and each example works with a real broker."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.broker.client_setup import Worker, outcome, prepare
from tests.harness.missing_program import missing_program
from tests.harness.processes import clean_environment
from tests.harness.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.harness.broker_client import BrokerClient

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
NODE_MODULES = Path(sys.prefix) / "example-runtimes" / "node_modules"
NO_QUEUE = "no queue is bound"


def run(*command: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program with no variable of the bridge but those given."""
    return subprocess.run(
        command, env=clean_environment(env), cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def bodies(amqp: BrokerClient, count: int = 1) -> list[Mapping[str, object]]:
    """Take commands off the queue; see that each is persistent JSON."""
    messages = amqp.take("sms.send", count)
    for message in messages:
        assert message.properties["delivery_mode"] == 2
        assert message.properties["content_type"] == "application/json"
    return [message.json for message in messages]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_shows_excerpts_of_the_examples_that_it_links(recipe: Path) -> None:
    page = recipe.read_text()
    linked = [
        (recipe.parent / target).resolve() for target in re.findall(r"\]\((\.\./examples/[^)#]+)", page)
    ]
    blocks = re.findall(r"```(?:python|ruby|ts)\n(.*?)```", page, re.DOTALL)

    assert linked
    assert [block for block in blocks if not any(block in file.read_text() for file in linked)] == []


# -- Django ----------------------------------------------------------------------------------------

SETTINGS = """
INSTALLED_APPS = ["django_outbox"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SMS_BRIDGE_URL = {url!r}
"""
#: One row is rolled back, two are committed; the second can't be sent.
ORDERS = """
import django
django.setup()
from django.db import transaction
from django_outbox.models import OutgoingSms
try:
    with transaction.atomic():
        OutgoingSms.objects.create(id="order-1-shipped", to="+16131234567", message="never")
        raise RuntimeError
except RuntimeError:
    pass
with transaction.atomic():
    OutgoingSms.objects.create(id="order-2-shipped", to="+16131234567", message="On its way")
    OutgoingSms.objects.create(id="order-3-shipped", to="me", message="On its way")
"""
STATE = """
import django
django.setup()
from django_outbox.models import OutgoingSms
for row in OutgoingSms.objects.order_by("id"):
    print(row.id, row.done_at is not None, row.error)
"""


@pytest.mark.broker
def test_the_outbox_of_django_publishes_the_committed_rows(amqp: BrokerClient, tmp_path: Path) -> None:
    pytest.importorskip("django", reason="no Django here; `make setup` installs it")
    (tmp_path / "shop_settings.py").write_text(
        SETTINGS.format(database=str(tmp_path / "shop.sqlite3"), url=amqp.url)
    )
    env = {"PYTHONPATH": f"{tmp_path}:{EXAMPLES}", "DJANGO_SETTINGS_MODULE": "shop_settings"}

    def django(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, *arguments, cwd=tmp_path, **env)

    made = [django("-m", "django", "migrate", "--run-syncdb"), django("-c", ORDERS)]
    unrouted = django("-m", "django", "relay_sms", "--once")
    before = django("-c", STATE)
    prepare(amqp)
    relayed = [django("-m", "django", "relay_sms", "--once") for _ in range(2)]
    after = django("-c", STATE)

    assert [(done.returncode, done.stderr) for done in made] == [(0, ""), (0, "")]
    assert unrouted.stderr.startswith("Unroutable: ")
    assert before.stdout == "order-2-shipped False \norder-3-shipped False \n", before.stderr
    assert [(done.returncode, done.stderr) for done in relayed] == [(0, ""), (0, "")]
    assert bodies(amqp) == [
        {"id": "order-2-shipped", "destination_address": "+16131234567", "message": "On its way"}
    ]
    assert amqp.depth("sms.send") == 0
    assert "order-2-shipped True \n" in after.stdout
    assert "order-3-shipped True to is not one of the accepted forms" in after.stdout


# -- Ruby and Node.js ------------------------------------------------------------------------------

#: Active Job, as far as the job needs it.
ACTIVE_JOB = """
class ApplicationJob
  def self.retry_on(*errors, wait:, attempts:)
    @@errors = errors
  end

  def run(*arguments)
    perform(*arguments)
    puts 'done'
  rescue *@@errors => e
    puts "again: #{e.class}"
  end
end
require './sms_bridge'
SMS_BRIDGE = SmsBridge.new(ENV.fetch('AMQP_URL'))
require './send_sms_job'
ARGV.each { |id| SendSmsJob.new.run(id, '+16131234567', 'Hello') }
"""


@pytest.mark.broker
def test_the_job_of_rails_publishes_and_comes_again_where_it_could_not(
    amqp: BrokerClient, tmp_path: Path
) -> None:
    if shutil.which("ruby") is None or run("ruby", "-e", "require 'bunny'").returncode:
        missing_program("ruby with bunny")
    (tmp_path / "driver.rb").write_text(ACTIVE_JOB)
    program = ("ruby", "-I", str(EXAMPLES / "rails"), str(tmp_path / "driver.rb"))
    here = EXAMPLES / "rails"
    with amqp.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    unrouted = run(*program, "order-1", cwd=here, AMQP_URL=amqp.url)
    prepare(amqp)
    sent = run(*program, "order-1", "order-2", cwd=here, AMQP_URL=amqp.url)
    unavailable = run(
        *program, "order-3", cwd=here, AMQP_URL=f"amqp://guest:guest@127.0.0.1:{free_port()}/%2f"
    )

    assert unrouted.stdout == "again: SmsBridge::NotSent\n", unrouted.stderr
    assert sent.stdout == "done\ndone\n", sent.stderr
    assert unavailable.stdout.endswith("again: Bunny::TCPConnectionFailedForAllHosts\n"), unavailable.stderr
    assert bodies(amqp, 2) == [
        {"id": name, "destination_address": "+16131234567", "message": "Hello"}
        for name in ("order-1", "order-2")
    ]


#: Compiles the module, and runs it inside Nest.
NEST = """
require('reflect-metadata')
const { readFileSync, writeFileSync } = require('node:fs')
const { transpileModule } = require('typescript')
const { NestFactory } = require('@nestjs/core')
const source = readFileSync(process.argv[2], 'utf8')
const compilerOptions = {
  module: 'commonjs', target: 'es2022', experimentalDecorators: true, emitDecoratorMetadata: true
}
writeFileSync('sms.module.js', transpileModule(source, { compilerOptions }).outputText)
const { SmsModule, SmsService } = require(process.cwd() + '/sms.module.js')

async function main () {
  const app = await NestFactory.createApplicationContext(SmsModule, { logger: false })
  const sms = app.get(SmsService)
  await Promise.all(process.argv.slice(3).map(async id => {
    try {
      await sms.send(id, '+16131234567', 'Hello')
      console.log('done')
    } catch (error) {
      console.log('again: ' + (error.code || error.message))
    }
  }))
  await app.close()
}
main()
"""


@pytest.mark.broker
def test_the_module_of_nestjs_publishes_and_says_where_it_could_not(
    amqp: BrokerClient, tmp_path: Path
) -> None:
    libraries = ("amqplib", "typescript", "@nestjs/core")
    if shutil.which("node") is None or not all((NODE_MODULES / name).is_dir() for name in libraries):
        missing_program(f"node with {', '.join(libraries)}")
    (tmp_path / "driver.js").write_text(NEST)
    program = ("node", "driver.js", str(EXAMPLES / "nestjs" / "sms.module.ts"))

    def nest(url: str, *ids: str) -> subprocess.CompletedProcess[str]:
        return run(*program, *ids, cwd=tmp_path, NODE_PATH=str(NODE_MODULES), AMQP_URL=url)

    with amqp.channel() as channel:
        channel.exchange_declare("sms.commands", "topic", durable=True, auto_delete=False)
    unrouted = nest(amqp.url, "order-1")
    prepare(amqp)
    sent = nest(amqp.url, "order-1", "order-2")
    unavailable = nest(f"amqp://guest:guest@127.0.0.1:{free_port()}/%2f", "order-3")

    assert unrouted.stdout.startswith(f"again: {NO_QUEUE}"), unrouted.stderr
    assert sent.stdout == "done\ndone\n", sent.stderr
    assert unavailable.stdout == "again: ECONNREFUSED\n", unavailable.stderr
    assert bodies(amqp, 2) == [
        {"id": name, "destination_address": "+16131234567", "message": "Hello"}
        for name in ("order-1", "order-2")
    ]


# -- Python ----------------------------------------------------------------------------------------


@pytest.mark.broker
def test_a_one_time_password_expires_and_says_what_became_of_it(amqp: BrokerClient) -> None:
    def send(challenge: str, to: str = "+16131234567") -> str:
        done = run(sys.executable, str(EXAMPLES / "otp.py"), challenge, to, "123456", AMQP_URL=amqp.url)
        assert done.stderr == ""
        return done.stdout.strip()

    unavailable = send("c0")
    prepare(amqp)
    worker = Worker(amqp, [outcome("otp-c1")], [outcome("otp-c2", type_="sms.outbound.expired")])
    said = [send("c1"), send("c2"), send("c3", to="me")]
    worker.join()
    late = send("c4")
    (command,) = bodies(amqp)

    assert [unavailable, *said, late] == ["unavailable", "sent", "expired", "invalid", "pending"]
    assert command["id"] == "otp-c4"
    assert "123456" not in str(command["id"])
    assert "expires_at" in command


@pytest.mark.broker
def test_a_campaign_that_runs_again_publishes_the_same_ids(amqp: BrokerClient, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text("customer,number\n17,+16131234567\n18,me\n19,+16131234568\n")
    program = (sys.executable, str(EXAMPLES / "campaign.py"), "spring", "customers.csv")
    stopped = run(*program, cwd=tmp_path, AMQP_URL=amqp.url)
    prepare(amqp)
    done = [run(*program, cwd=tmp_path, AMQP_URL=amqp.url) for _ in range(2)]
    commands = bodies(amqp, 4)

    assert stopped.returncode == 1
    assert [one.returncode for one in done] == [0, 0]
    assert all(one.stderr.startswith("18 to is not one of the accepted forms") for one in done)
    assert [command["id"] for command in commands] == ["spring-17", "spring-19"] * 2
    assert [command["metadata"] for command in commands] == [{"campaign": "spring"}] * 4


@pytest.mark.broker
@pytest.mark.acceptance
def test_the_tests_against_the_simulator_pass_twice(amqp: BrokerClient, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "test_codes.py", tmp_path)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_codes.py")
    path = f"{Path(sys.executable).parent}:{clean_environment()['PATH']}"
    for _ in range(2):
        done = run(*command, cwd=tmp_path, AMQP_URL=amqp.url, SIMULATOR_PORT=str(free_port()), PATH=path)

        assert done.returncode == 0, done.stdout + done.stderr
