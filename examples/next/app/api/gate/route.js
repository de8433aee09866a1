import { open } from '../../gate';

export const dynamic = 'force-dynamic';

export async function POST() {
  open();
  return Response.json({ open: true });
}
