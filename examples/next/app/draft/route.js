import { draftMode } from 'next/headers';

export const dynamic = 'force-dynamic';

export async function POST() {
  (await draftMode()).enable();
  return Response.json({ draft: true });
}

export async function DELETE() {
  (await draftMode()).disable();
  return Response.json({ draft: false });
}
