// Publishes SMS commands from a NestJS application. Needs amqplib.
import { Injectable, Module, OnModuleDestroy } from '@nestjs/common'
import * as amqp from 'amqplib'

@Injectable()
export class SmsService implements OnModuleDestroy {
  private opened?: Promise<amqp.ConfirmChannel>
  private readonly returned = new Set<string>()

  /** Resolves once the broker has stored the command. Calling it again with the same id sends no second SMS. */
  async send (id: string, to: string, message: string): Promise<void> {
    const channel = await (this.opened ??= this.open())
    const body = Buffer.from(JSON.stringify({ id, destination_address: to, message }))
    const options = { persistent: true, mandatory: true, contentType: 'application/json', messageId: id }
    await new Promise<void>((resolve, reject) => {
      setTimeout(() => reject(new Error('no confirm within 10 s')), 10_000).unref()
      channel.publish('sms.commands', 'send', body, options, error => error ? reject(error) : resolve())
    })
    if (this.returned.delete(id)) throw new Error('no queue is bound: start the bridge')
  }

  async onModuleDestroy (): Promise<void> {
    await (await this.opened)?.connection.close()
  }

  private async open (): Promise<amqp.ConfirmChannel> {
    const forget = () => { this.opened = undefined } // the next call connects again
    try {
      const connection = await amqp.connect(process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f')
      connection.on('error', error => console.error(error.message))
      connection.on('close', forget)
      const channel = await connection.createConfirmChannel()
      channel.on('error', forget)
      channel.on('return', message => this.returned.add(message.properties.messageId))
      return channel
    } catch (error) {
      forget()
      throw error
    }
  }
}

@Module({ providers: [SmsService], exports: [SmsService] })
export class SmsModule {}
